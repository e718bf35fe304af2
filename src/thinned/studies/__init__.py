"""The study: does dropout help this network on this data, and at which rate?"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinned.studies.api import Study, study
    from thinned.studies.training.store import finished_networks

__all__ = ["Study", "finished_networks", "study"]


def __getattr__(name: str) -> Any:
    """Import on demand: workers that train networks need neither analysis nor charts."""
    if name == "finished_networks":
        from thinned.studies.training.store import finished_networks  # noqa: PLC0415 - on demand

        return finished_networks
    if name in __all__:
        from thinned.studies import api  # noqa: PLC0415 - on demand

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
