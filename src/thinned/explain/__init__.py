"""The churn network explained: ``thinned explain`` writes an interactive page, the documents the same in print."""

from thinned.explain.page import render, write

__all__ = ["render", "write"]
