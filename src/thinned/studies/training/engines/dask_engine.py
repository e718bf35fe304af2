"""Workers of a Dask cluster, or of processes that Dask starts on this machine.

joblib has a backend for Dask, too, which ``joblib.parallel_config`` can choose. It waits for ever for a job whose
worker was killed, so the engine that is chosen by name submits to Dask itself.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import distributed

from thinned.errors import InputError, sentence
from thinned.studies.training.engines.engine import Outcome
from thinned.studies.training.engines.futures import FutureEngine, without_outcome
from thinned.studies.training.engines.worker import Run, RunFiles, run_job, visible_devices

__all__ = ["Dask"]

_CONNECT, _FIRST_WORKER = 15.0, 90.0  # seconds; a busy machine may take a minute to start a process


class Dask(FutureEngine[Any]):
    """Jobs as Dask tasks.

    Each process of a cluster that is started here sees one accelerator. Those of another cluster see what they were
    started with: dask-cuda starts one for each accelerator.

    Args:
        jobs: how many at a time; None takes all threads of the cluster.
        address: of a scheduler, as "tcp://10.0.0.1:8786"; None takes the client that the caller has made, or starts a
            cluster of ``jobs`` processes here.
        cores: processes of such a cluster where ``jobs`` is None.
        main: see :class:`thinned.studies.training.engines.worker.Run`.

    Raises:
        InputError: there is no scheduler at the address.
    """

    def __init__(
        self, jobs: int | None, address: str | None, cores: int, main: Mapping[str, Callable[..., object]] | None = None
    ) -> None:
        super().__init__(main)
        self._jobs, self._cluster, self._own = jobs, None, False
        if address is None:
            with contextlib.suppress(ValueError):
                self._client = distributed.get_client()
                return
            self._cluster, self._devices = _local_cluster(jobs or cores), visible_devices()
        self._own = True
        try:
            self._client = distributed.Client(self._cluster or address, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            found = f"got {address}: {error}"
            raise InputError(sentence("training needs a Dask scheduler at --address", found)) from None

    @property
    def _address(self) -> str:
        scheduler = self._client.scheduler  # None while the client connects again
        return "--address" if scheduler is None else str(scheduler.address)

    @property
    def workers(self) -> int:
        """As many as the cluster has threads now: it may grow and shrink."""
        return max(1, self._jobs or sum(self._client.nthreads().values()))

    def _share(self, files: RunFiles) -> Any:
        try:
            # those that were started here come together: the first one would be given all jobs
            self._client.wait_for_workers(len(self._cluster.workers) if self._cluster else 1, timeout=_FIRST_WORKER)
        except TimeoutError:
            found = f"the scheduler at {self._address} has too few after {_FIRST_WORKER:.0f} s"
            raise InputError(
                sentence("training needs workers of Dask", found, "start some with `dask worker`")
            ) from None
        seen = self._client.run(Path(files.folder).is_dir)
        return None if all(seen.values()) else self._client.scatter(files.content(), broadcast=True)

    def _submit(self, run: Run, number: int, shared: Any) -> Any:
        return self._client.submit(run_job, run, number, shared, pure=False)

    def _wait(self, futures: list[Any], seconds: float) -> list[Any]:
        # a lost connection cancels all futures at once, and then the client tries to connect again
        with contextlib.suppress(TimeoutError, distributed.CancelledError), self._client.as_current():
            distributed.wait(futures, timeout=seconds, return_when="FIRST_COMPLETED")
        if self._client.status != "running":
            found = f"that at {self._address} no longer answers"
            remedy = "start it again; the same command goes on from the finished networks"
            raise InputError(sentence("training needs its Dask scheduler", found, remedy))
        return [future for future in futures if future.done()]

    def _outcome(self, future: Any, number: int) -> Outcome[Any]:
        try:
            outcome: Outcome[Any] = future.result()
        except Exception as error:  # noqa: BLE001 (a job's own are outcomes; this is the cluster's)
            return without_outcome(number, error)
        return outcome

    def _cancel(self, futures: list[Any]) -> None:
        self._client.cancel(futures)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._own:
            lost = self._client.status != "running"
            with contextlib.suppress(Exception), _silent_reconnection() if lost else contextlib.nullcontext():
                self._client.close()
            if self._cluster is not None:
                self._cluster.close()


@contextlib.contextmanager
def _silent_reconnection() -> Iterator[None]:
    """The client that is closed while it tries to connect again logs a traceback; the loss is told as a sentence."""
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _local_cluster(processes: int) -> Any:
    """Processes of one thread each. Started by command where that can be had: the caller's script needs no guard."""
    if sys.platform == "win32":
        return distributed.LocalCluster(n_workers=processes, threads_per_worker=1, dashboard_address=None)
    from distributed.deploy.subprocess import SubprocessCluster  # noqa: PLC0415 - not for Windows

    return SubprocessCluster(n_workers=processes, threads_per_worker=1, dashboard_address=None)
