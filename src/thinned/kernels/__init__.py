"""Backends. Each module has ``dropout(x, address, shared, out)``; all give bitwise equal masks."""
