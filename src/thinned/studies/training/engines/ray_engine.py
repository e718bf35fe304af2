"""Workers of a Ray cluster, or of a Ray that is started on this machine."""

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray

from thinned.errors import InputError, sentence
from thinned.studies.training.engines.engine import Outcome
from thinned.studies.training.engines.futures import FutureEngine, without_outcome
from thinned.studies.training.engines.worker import Run, RunFiles, run_job

__all__ = ["Ray"]

_CHECK = 2.0  # seconds between two looks at the cluster's head
_TRIES = 3  # looks in a row that fail before the head counts as gone; Ray itself ends the process after a minute


class Ray(FutureEngine[Any]):
    """Jobs as Ray tasks of one CPU each, and of one GPU where they compute on it; Ray gives each task its own.

    Args:
        jobs: how many at a time; None takes all CPUs of the cluster.
        address: of a cluster, as "auto" or "10.0.0.1:6379"; None takes the running one, or starts one here.
        main: see :class:`thinned.studies.training.engines.worker.Run`.
        accelerators: each job computes on a GPU.

    Raises:
        InputError: there is no cluster at the address, or it has no GPU that jobs need.
    """

    def __init__(
        self,
        jobs: int | None,
        address: str | None,
        main: Mapping[str, Callable[..., object]] | None = None,
        *,
        accelerators: bool = False,
    ) -> None:
        super().__init__(main)
        self._started = not ray.is_initialized()
        if self._started:
            _connect(jobs, address)
        self._jobs, self._unit = jobs, "GPU" if accelerators else "CPU"
        if accelerators and ray.cluster_resources().get("GPU", 0) < 1:
            found = "this one has none"
            remedy = "start it with --num-gpus, or train on the CPU with --device cpu"
            raise InputError(sentence("training on an accelerator needs a Ray cluster with GPUs", found, remedy))
        # a failed job is tried again by the driver, which counts
        self._remote = ray.remote(num_cpus=1, num_gpus=int(accelerators), max_retries=0)(run_job)
        head = ray.get_runtime_context().gcs_address
        self._head = (head.rpartition(":")[0].strip("[]"), int(head.rpartition(":")[2]))
        self._checked, self._misses = time.monotonic(), 0

    @property
    def workers(self) -> int:
        """As many as the cluster has CPUs now, or GPUs where jobs need them: it may grow and shrink."""
        return max(1, self._jobs or int(ray.cluster_resources().get(self._unit, 1)))

    def _share(self, files: RunFiles) -> Any:
        alone = sum(node["Alive"] for node in ray.nodes()) == 1
        return None if alone else ray.put(files.content())

    def _submit(self, run: Run, number: int, shared: Any) -> Any:
        return self._remote.remote(run, number, shared)

    def _wait(self, futures: list[Any], seconds: float) -> list[Any]:
        self._check_head()
        done, _ = ray.wait(futures, num_returns=1, timeout=seconds)
        return list(done)

    def _outcome(self, future: Any, number: int) -> Outcome[Any]:
        try:
            outcome: Outcome[Any] = ray.get(future)
        except ray.exceptions.RayError as error:
            return without_outcome(number, error)
        return outcome

    def _cancel(self, futures: list[Any]) -> None:
        for future in futures:
            ray.cancel(future, force=True)

    def _check_head(self) -> None:
        now = time.monotonic()
        if now - self._checked < _CHECK:
            return
        self._checked = now
        self._misses = 0 if _answers(*self._head) else self._misses + 1
        if self._misses >= _TRIES:
            found = f"that at {self._head[0]}:{self._head[1]} no longer answers"
            remedy = "start it again; the same command goes on from the finished networks"
            raise InputError(sentence("training needs its Ray cluster", found, remedy))

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._started and not self._misses:
            with contextlib.suppress(Exception):
                ray.shutdown()


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_CHECK).close()
    except OSError:
        return False
    return True


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.strip().rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() and host and "/" not in host else None


def _live_address(address: str | None) -> str | None:
    """The address to connect to; ``ray.init`` would wait minutes for a cluster that does not answer.

    Raises:
        InputError: no cluster answers at the address.
    """
    wanted = address or os.environ.get("RAY_ADDRESS")
    if wanted:
        place = _host_and_port(wanted)
        if place is not None and not _answers(*place):
            found = f"nothing answers at {wanted}"
            raise InputError(sentence("training needs a Ray cluster at --address", found, "see `ray status`"))
        return address
    note = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster")
    with contextlib.suppress(OSError, ValueError):  # no cluster is noted
        place = _host_and_port(note.read_text(encoding="utf-8"))
        if place is not None and not _answers(*place):
            return "local"  # the noted cluster is gone
    return None


def _connect(jobs: int | None, address: str | None) -> None:
    address = _live_address(address)
    local: dict[str, Any] = {} if address not in (None, "local") else {"num_cpus": jobs, "include_dashboard": False}
    try:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
        except ValueError:  # RAY_ADDRESS names a cluster, whose size is not ours to choose
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        found = f"Ray says: {first}"
        remedy = "see `ray status`; if the cluster asks for a token, set RAY_AUTH_MODE=token"
        raise InputError(sentence("training needs a Ray cluster at --address", found, remedy)) from None
