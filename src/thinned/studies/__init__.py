"""The study: does dropout help this network on this data, and at which rate?"""

from thinned.studies.api import Study, study
from thinned.studies.training.store import finished_networks

__all__ = ["Study", "finished_networks", "study"]
