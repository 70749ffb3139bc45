"""Regularisation: augmentation, mixing of images, averaged weights."""
