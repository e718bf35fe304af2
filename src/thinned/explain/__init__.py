"""The churn network explained: ``thinned explain`` writes a page to play with, the documents say the same in print."""

from thinned.explain.page import render, write

__all__ = ["render", "write"]
