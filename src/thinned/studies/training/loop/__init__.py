"""The training of a network of one's own: one network at a time, on any examples."""

from thinned.studies.training.loop.check import check_network
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.timing import MeasuredTime, measure_time
from thinned.studies.training.loop.train import train_network

__all__ = ["MeasuredTime", "NetworkConfig", "NetworkFunctions", "check_network", "measure_time", "train_network"]
