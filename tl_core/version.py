"""The version of Graft: bundles keep it, the app shows it, and `pyproject.toml` repeats it."""

__version__ = "0.1.0"
