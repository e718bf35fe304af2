"""Kernels in Triton for CUDA and ROCm. Importing this package imports no Triton; importing its modules does."""
