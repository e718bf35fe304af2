"""Kernels of dropout and of what is fused with it."""
