"""Stateless dropout: every function is complete, and takes its mask's address or draws one."""

from thinned.functional.elementwise import alpha_dropout, dropout, dropout_add, gaussian_dropout

__all__ = ["alpha_dropout", "dropout", "dropout_add", "gaussian_dropout"]
