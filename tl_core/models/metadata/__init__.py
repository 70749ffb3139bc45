"""Rows of the registry, made from the libraries' own metadata. Needs torch, torchvision and timm."""
