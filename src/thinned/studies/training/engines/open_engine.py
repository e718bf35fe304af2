"""An engine that starts while the table is still to be read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thinned.studies.training.engines.choose import (
    EngineName,
    check_engine,
    choose_engine,
    is_configured,
    main_objects,
)
from thinned.studies.training.engines.engine import Engine
from thinned.studies.training.engines.joblib_engine import Joblib
from thinned.studies.training.native_cohort import trains_networks
from thinned.studies.training.store import finished_networks

__all__ = ["open_engine"]

_LARGE_FILE, _LARGE_FRAME = 100_000, 2_000  # bytes and rows of a table for which workers start early


@contextmanager
def open_engine(
    data: object, folder: Path, network: str | None, jobs: int | None, engine: EngineName | None, address: str | None
) -> Iterator[Engine | None]:
    """Start an engine, and close it at the end of the block; None leaves the choice to the training.

    Args:
        data: the table, still to be read.
        folder: of the run.
        network: "module:function" of the user's network, or None.
        jobs: as for :func:`thinned.study`.
        engine: as for :func:`thinned.study`.
        address: as for :func:`thinned.study`.

    Raises:
        InputError: the options name no engine, or there is no cluster at the address.
    """
    check_engine(jobs, engine, address)
    native = trains_networks(network)
    chosen = jobs is not None or engine is not None
    if not chosen and (native or is_configured() or finished_networks(folder) or not _is_large(data)):
        yield None
        return
    workers = choose_engine(jobs, engine, address, main_objects(network), native=native)
    try:
        if isinstance(workers, Joblib):
            workers.start()
        yield workers
    finally:
        workers.close()


def _is_large(data: object) -> bool:
    """Whether training takes so long that workers are surely worth their start."""
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        return path.is_file() and path.stat().st_size >= _LARGE_FILE
    return len(getattr(data, "index", ())) >= _LARGE_FRAME
