"""A cluster whose head disappears in a study: one sentence, the store intact, the same command goes on."""

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import engine_jobs
import pytest
from same_results import assert_same

import thinned
from thinned import datasets
from thinned.errors import InputError
from thinned.studies.results.file import read
from thinned.studies.training.engines.choose import choose_engine
from thinned.studies.training.engines.engine import Task
from thinned.studies.training.engines.run_jobs import run_jobs

pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")
pytestmark = pytest.mark.slow

OPTIONS: dict[str, Any] = {
    "arms": ("dropout", "batch_norm", "batch_dropout", "piecewise"),
    "rates": (0.2, 0.5),
    "folds": 2,
    "seeds": 2,
    "hidden": (8,),
    "epochs": 60,
}


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "churn.csv"
    datasets.churn().head(600).to_csv(path, index=False)
    return path


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def kill_all(process: Any) -> None:
    """Kill a process and what it started."""
    for one in (*process.children(recursive=True), process):
        with contextlib.suppress(psutil.Error):
            one.kill()


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process and its children, which are killed at the end."""
    code = f"import sys; sys.argv = {['cluster', *command[1:]]!r}; from {command[0]} import main; main()"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", code], **quiet) as running:
        whole = psutil.Process(running.pid)
        try:
            yield running
        finally:
            kill_all(whole)


@contextlib.contextmanager
def dask_cluster(port: int, folder: Path) -> Iterator[Callable[[], None]]:
    """A scheduler and two workers; what comes back kills the scheduler."""
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    worker = ("--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--death-timeout", "20")
    folders = ("--local-directory", str(folder))
    with process(*scheduler) as head, process("distributed.cli.dask_worker", address, *worker, *folders):
        wait_until_open(port)
        yield head.kill


@contextlib.contextmanager
def ray_cluster(port: int, folder: Path) -> Iterator[Callable[[], None]]:
    """A machine of two cores that is the head; what comes back kills the server that knows the cluster."""
    options = ("--num-cpus", "2", "--include-dashboard=false", "--disable-usage-stats", "--temp-dir", str(folder))
    with process("ray.scripts.scripts", "start", "--head", "--block", "--port", str(port), *options) as head:
        wait_until_open(port)

        def kill() -> None:
            children = psutil.Process(head.pid).children(recursive=True)
            servers = [child for child in children if child.name() == "gcs_server"]
            assert servers
            for server in servers:
                server.kill()

        yield kill


CLUSTERS = {"dask": (dask_cluster, "tcp://127.0.0.1:{}"), "ray": (ray_cluster, "127.0.0.1:{}")}


def networks(folder: Path) -> int:
    """How many finished networks a store holds, which must be intact."""
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'study.sqlite'}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(connection.execute("SELECT count(*) FROM network").fetchone()[0])


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        time.sleep(0.2)
    raise AssertionError("the cluster did not start")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(sqlite3.OperationalError):
            if networks(path):
                return
        time.sleep(0.1)
    raise AssertionError("no network was finished")


def study_command(csv: Path, out: Path, engine: str, address: str) -> list[str]:
    options = ["--target", "churn", "--out", str(out), "--engine", engine, "--address", address, "--jobs", "2"]
    for name, value in OPTIONS.items():
        options += [f"--{name}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return [sys.executable, "-m", "thinned", "study", str(csv), *options]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lost") as folder:  # the path of a socket in it may have 107 characters
        yield Path(folder)


@pytest.mark.parametrize("engine", list(CLUSTERS))
def test_a_head_that_disappears(
    engine: str, csv: Path, tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"dask": "distributed"}.get(engine, engine))
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (start, address), port = CLUSTERS[engine], free_port()
    command = study_command(csv, tmp_path / "run", engine, address.format(port))
    with (
        start(port, short_folder) as kill_head,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as study,
    ):
        wait_for(tmp_path / "run")
        kill_head()
        text = " ".join(study.communicate(timeout=200)[1].split())
    assert study.returncode == 2, text
    assert "the same command goes on from the finished networks" in text
    assert "Traceback" not in text
    finished = networks(tmp_path / "run")
    with start(port, short_folder):
        subprocess.run(command, check=True, timeout=400, capture_output=True)
    alone = thinned.study(csv, "churn", out=tmp_path / "alone", jobs=1, **OPTIONS)
    assert finished < networks(tmp_path / "run")
    assert_same(read(tmp_path / "run"), alone.results)


def test_a_dask_scheduler_without_workers_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from thinned.studies.training.engines import dask_engine

    monkeypatch.setattr(dask_engine, "_FIRST_WORKER", 1.0)
    port, scheduler = free_port(), "distributed.cli.dask_scheduler"
    with process(scheduler, "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"):
        wait_until_open(port)
        with contextlib.closing(choose_engine(2, "dask", f"tcp://127.0.0.1:{port}")) as engine:
            task = Task(engine_jobs.square, 1, tmp_path / "run", lambda reports: None)
            with pytest.raises(
                InputError, match=r"needs workers of Dask; the scheduler at .* has too few after 1 s; start"
            ):
                list(run_jobs(engine, task))
