"""The study: does dropout help this network on this data, and at which rate?"""

from thinned.studies._study import Study, study
from thinned.studies.store import finished_networks

__all__ = ["Study", "finished_networks", "study"]
