"""Backends of dropout: native (C++), triton, aten (torch operations) and reference (the NumPy specification)."""
