"""A Ray that its note says is running may be gone; one may run in a process of its own."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import engine_jobs as jobs
import pytest

from thinned.errors import InputError
from thinned.studies.training.engines.choose import choose_engine
from thinned.studies.training.engines.engine import Task
from thinned.studies.training.engines.run_jobs import run_jobs

ray = pytest.importorskip("ray")
from thinned.studies.training.engines.ray_engine import Ray  # noqa: E402

SCRIPT = """
import sys
from thinned.studies.training.engines.ray_engine import Ray  # noqa: E402

engine = Ray(None, sys.argv[1] or None)
print("workers:", engine.workers)
engine.close()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # the path of a socket in it may have 107 characters
        yield Path(folder)


def variables(folder: Path) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return others | {"RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "disabled"}


def run(folder: Path, address: str = "") -> str:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, address],
        env=variables(folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return result.stdout + result.stderr


@pytest.mark.slow
def test_a_cluster_that_is_noted_but_gone_is_not_waited_for(folder: Path) -> None:
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:1\n")
    assert "workers: " in run(folder)


@pytest.mark.slow
def test_a_cluster_of_another_process_by_its_address(folder: Path) -> None:
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--head", "--block"]
    options = ["--port=26380", "--num-cpus=3", "--include-dashboard=false", f"--temp-dir={folder}/ray"]
    with subprocess.Popen([*command, *options], env=variables(folder), stdout=subprocess.PIPE, text=True) as head:
        assert head.stdout is not None
        try:
            assert any("runtime started" in line for line in head.stdout)
            assert "workers: 3" in run(folder, "127.0.0.1:26380")
        finally:
            head.terminate()


def test_an_address_without_a_cluster_is_one_sentence() -> None:
    expected = "needs a Ray cluster at --address; nothing answers at 127.0.0.1:1; see `ray status`"
    with pytest.raises(InputError, match=expected):
        Ray(None, "127.0.0.1:1")


@pytest.mark.slow
def test_ray_deals_its_devices(tmp_path: Path) -> None:
    """Two devices that Ray is told of: two jobs at a time, though there are four cores, each with a device alone."""
    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with contextlib.closing(choose_engine(engine="ray", accelerators=True)) as engine:
            assert engine.workers == 2
            (tmp_path / "begun").mkdir()
            task = Task(jobs.Pair(tmp_path / "begun"), 8, tmp_path / "run", lambda reports: None)
            assert len(dict(run_jobs(engine, task))) == 8
        assert set().union(*jobs.devices_of_processes(tmp_path / "begun").values()) == {"0", "1"}
    finally:
        ray.shutdown()
