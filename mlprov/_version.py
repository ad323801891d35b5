"""The version of the package; format versions are separate (docs/format.md)."""

__version__ = "0.1.0"
