"""Backends of dropout: native (C++), aten (torch operations) and reference (the NumPy specification)."""
