"""Backbones as ONNX graphs."""
