"""Attention with dropout in Triton: memory linear in the length, and the mask of every other backend.

Importing this package imports Triton. It is an :class:`thinned.kernels.attention.AttentionKernels`.
"""

from thinned.kernels.triton.attention.launch import attention_backward, attention_forward, supports

__all__ = ["attention_backward", "attention_forward", "supports"]
