"""The study: does dropout help this network on this data, and at which rate?"""

from thinned.studies._study import Study, study

__all__ = ["Study", "study"]
