"""The 2^n sub-networks of a model as an ensemble: all of them, a sample, one, and how far weight scaling is off."""

from thinned.ensemble.enumeration import Enumeration, enumerate  # noqa: A004 - reads well as ensemble.enumerate
from thinned.ensemble.sampling import Prediction, Sample, predict, sample

__all__ = ["Enumeration", "Prediction", "Sample", "enumerate", "predict", "sample"]
