"""Rows of the registry, written from the libraries' own metadata."""
