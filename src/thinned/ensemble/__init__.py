"""The 2^n sub-networks of a model as an ensemble: all of them, a sample, one, and how far weight scaling is off."""

from thinned.ensemble.enumeration import Enumeration, TooManyError, enumerate  # noqa: A004 - reads well with the module
from thinned.ensemble.sampling import Prediction, Sample, predict, sample
from thinned.ensemble.subnetwork import subnetwork
from thinned.ensemble.weight_scaling import Gap, gap

__all__ = [
    "Enumeration",
    "Gap",
    "Prediction",
    "Sample",
    "TooManyError",
    "enumerate",
    "gap",
    "predict",
    "sample",
    "subnetwork",
]
