"""Backbones as ONNX graphs: written, kept in the cache, cut, and given a head."""
