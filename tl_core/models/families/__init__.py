"""The table of families: how the networks of each architecture are taken apart into stages, tail and head."""
