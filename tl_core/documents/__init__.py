"""The documents that cross a boundary between processes, as pydantic models."""
