"""Everything the functions and the container share, in layers (see docs/architecture.md)."""
