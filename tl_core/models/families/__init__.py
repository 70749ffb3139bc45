"""Families of networks: where stages, tail and head lie, one row a family."""
