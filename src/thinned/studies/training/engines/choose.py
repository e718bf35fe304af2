"""Which engine a run gets."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import joblib
import torch

from thinned.errors import InputError, sentence
from thinned.studies.training.engines.engine import Engine
from thinned.studies.training.engines.joblib_engine import Joblib
from thinned.studies.training.engines.serial import Serial
from thinned.studies.training.engines.threads import Threads
from thinned.studies.training.engines.worker import visible_devices

__all__ = ["EngineName", "check_engine", "choose_engine", "is_configured", "main_objects"]

EngineName = Literal["loky", "ray", "dask"]

_PACKAGES = {"ray": "ray", "dask": "distributed"}


def check_engine(jobs: int | None, engine: EngineName | None, address: str | None) -> None:
    """Refuse options that name no engine, before anything is read or started.

    Raises:
        InputError: ``jobs`` is neither at least 1 nor -1, there is no such engine, its package is missing, or the
            address belongs to none.
    """
    if jobs is not None and (type(jobs) is not int or (jobs < 1 and jobs != -1)):
        raise InputError(sentence("jobs must be a whole number of at least 1, or -1 for all cores", f"got {jobs!r}"))
    if engine is not None and engine not in get_args(EngineName):
        raise InputError(sentence(f"engine must be one of {', '.join(get_args(EngineName))}", f"got {engine!r}"))
    if address is not None and engine not in _PACKAGES:
        raise InputError(sentence("an address is that of a Ray or Dask cluster", f"got engine={engine!r}"))
    package = _PACKAGES.get(engine or "")
    if package is not None and importlib.util.find_spec(package) is None:
        remedy = f"install it with: pip install 'thinned[{engine}]'"
        raise InputError(sentence(f"engine={engine!r} needs the package {package}", "it is not installed", remedy))


def choose_engine(
    jobs: int | None = None,
    engine: EngineName | None = None,
    address: str | None = None,
    main: Mapping[str, Callable[..., object]] | None = None,
    *,
    accelerators: bool = False,
    native: bool = False,
) -> Engine:
    """Start an engine or connect to it.

    Args:
        jobs: how many jobs at a time, -1 for as many as there are cores. None takes what ``joblib.parallel_config``
            says, all of a cluster, or else as many as torch has threads, or as there are accelerators.
        engine: "loky" (processes on this machine), "ray" or "dask"; None takes the backend of
            ``joblib.parallel_config``, and else threads for native jobs and loky for others.
        address: of the cluster.
        main: objects of the caller's ``__main__`` that jobs look for.
        accelerators: each job computes on an accelerator.
        native: the extension trains the networks, without the interpreter's lock.

    Raises:
        InputError: as :func:`check_engine`, or there is no cluster at the address, or it has no accelerators.
    """
    check_engine(jobs, engine, address)
    units = max(1, len(visible_devices())) if accelerators else torch.get_num_threads()
    if engine == "ray":
        from thinned.studies.training.engines.ray_engine import Ray  # noqa: PLC0415 - an extra

        return Ray(_given(jobs, address), address, main, accelerators=accelerators)
    if engine == "dask":
        from thinned.studies.training.engines.dask_engine import Dask  # noqa: PLC0415 - an extra

        return Dask(_given(jobs, address), address, units, main)
    configured = is_configured()
    if jobs is None and not configured:
        jobs = units
    if native and engine is None and not configured:
        threads = joblib.cpu_count() if jobs == -1 else jobs or units
        return Serial() if threads == 1 else Threads(threads)
    chosen = Joblib(jobs, engine, main)
    return Serial() if chosen.workers == 1 else chosen


def main_objects(name: str | None) -> dict[str, Callable[..., object]]:
    """The object that ``module:name`` names, if its module is the script or notebook that runs."""
    module, _, attribute = (name or "").partition(":")
    value = getattr(sys.modules["__main__"], attribute, None) if module == "__main__" and attribute else None
    return {attribute: value} if callable(value) else {}


def _given(jobs: int | None, address: str | None) -> int | None:
    """The number of jobs, or None for all workers of a cluster."""
    if jobs == -1:
        return joblib.cpu_count() if address is None else None
    return jobs


def is_configured() -> bool:
    """Whether the caller stands in a ``joblib.parallel_config`` that names a backend or a number of jobs."""
    config = getattr(joblib.parallel._backend, "config", {})
    default = joblib.parallel.default_parallel_config
    return any(config.get(name, default[name]) is not default[name] for name in ("backend", "n_jobs"))
