"""Residual blocks of known classes that compute their branches for the kept samples only."""

from thinned.conversion.skipping.api import SkippingReport, skip_dropped

__all__ = ["SkippingReport", "skip_dropped"]
