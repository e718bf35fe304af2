"""Every engine runs every job once, tries again what was lost, and says what it can't do in a sentence."""

import contextlib
import importlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import engine_jobs as jobs
import joblib
import pytest

from thinned.errors import InputError
from thinned.studies.training.engines import choose as choose_module
from thinned.studies.training.engines import run_jobs as run_jobs_module
from thinned.studies.training.engines import worker as worker_module
from thinned.studies.training.engines.choose import check_engine, choose_engine, main_objects
from thinned.studies.training.engines.engine import Engine, Failed, Lost, Task, Work
from thinned.studies.training.engines.environment import environment, instruction_set
from thinned.studies.training.engines.futures import without_outcome
from thinned.studies.training.engines.joblib_engine import Joblib
from thinned.studies.training.engines.run_jobs import run_jobs
from thinned.studies.training.engines.serial import Serial
from thinned.studies.training.engines.threads import Threads


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[Engine]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    engine = choose_engine(engine="ray")
    yield engine
    engine.close()
    assert ray.is_initialized()  # it was the caller's
    ray.shutdown()


@pytest.fixture(scope="module")
def dask_engine() -> Iterator[Engine]:
    pytest.importorskip("distributed")
    engine = choose_engine(2, "dask")
    yield engine
    engine.close()


def make_engine(name: str, request: pytest.FixtureRequest) -> Engine:
    if name in ("ray", "dask"):
        return request.getfixturevalue(f"{name}_engine")
    engines: dict[str, Callable[[], Engine]] = {
        "serial": Serial,
        "threads": lambda: Threads(2),
        "joblib_threads": lambda: Joblib(2, "threading"),
        "loky": lambda: Joblib(2, "loky"),
    }
    return engines[name]()


CLUSTERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("ray", "dask")]
IN_DRIVER = ["serial", "threads"]
ENGINES = [*IN_DRIVER, "joblib_threads", "loky", *CLUSTERS]
PROCESSES = ["loky", *CLUSTERS]


def run(engine: Engine, work: Work[Any], number: int, folder: Path, **options: Any) -> dict[int, Any]:
    reports = []
    task = Task(work, number, folder / "run", reports.append)
    results = dict(run_jobs(engine, task, **options))
    assert not (folder / "run").exists()
    return results


@pytest.mark.parametrize("name", ENGINES)
def test_every_job_is_done_once(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    engine = make_engine(name, request)
    assert run(engine, jobs.Recorder(tmp_path / "begun"), 7, tmp_path) == {n: n * n for n in range(7)}
    assert len(list((tmp_path / "begun").iterdir())) == 7
    assert engine.workers == (1 if name == "serial" else 2)


@pytest.mark.parametrize("name", ENGINES)
def test_workers_map_the_data_and_compute_on_one_core(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    results = run(make_engine(name, request), jobs.Rows(tmp_path), 2, tmp_path)
    assert set(results.values()) == {(name not in IN_DRIVER, True, 1, 499500.0)}


@pytest.mark.parametrize("name", ENGINES)
def test_a_job_that_fails_is_tried_again_after_the_others(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    (tmp_path / "begun").mkdir()
    work = jobs.Faulty(tmp_path / "begun", {1: 2}, OSError("a passing fault"))
    assert run(make_engine(name, request), work, 4, tmp_path) == {n: n * n for n in range(4)}
    assert len(list((tmp_path / "begun").glob("1-*"))) == 3


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("error", [ValueError("too odd"), jobs.TwoArgumentsError("too odd", 1)])
def test_a_job_that_always_fails_is_named_and_the_others_are_done(
    name: str, error: Exception, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Also with an error that can't be pickled."""
    (tmp_path / "begun").mkdir()
    if name not in IN_DRIVER and isinstance(error, jobs.TwoArgumentsError):
        error = ValueError("too odd")
    engine, done = make_engine(name, request), {}
    task = Task(jobs.Faulty(tmp_path / "begun", {1: 9}, error), 4, tmp_path / "run", lambda reports: None)
    with pytest.raises(RuntimeError, match=r"job 2 failed 3 times: \w+: too odd; the same command") as caught:
        done.update(run_jobs(engine, task))
    assert "raise self.error" in caught.value.__notes__[0]
    assert len(list((tmp_path / "begun").iterdir())) == 3 + 3


@pytest.mark.parametrize("name", ENGINES)
def test_an_input_error_is_final(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    work = jobs.Faulty(tmp_path, {0: 9}, InputError("the network must have a dropout layer"))
    with pytest.raises(InputError, match=r"^the network must have a dropout layer$"):
        run(make_engine(name, request), work, 1, tmp_path)
    assert len(list(tmp_path.glob("0-*"))) == 1


@pytest.mark.parametrize("name", ENGINES)
def test_want_of_memory_is_one_sentence(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    work = jobs.Faulty(tmp_path, {0: 9}, RuntimeError("DefaultCPUAllocator: can't allocate memory: tried 9 bytes"))
    with pytest.raises(InputError, match=r"training needs memory; job 1 failed 3 times.*; take fewer jobs"):
        run(make_engine(name, request), work, 1, tmp_path)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_worker_without_memory_is_one_sentence(library: str, tmp_path: Path) -> None:
    """More than any machine has is asked of the library itself."""
    (tmp_path / "begun").mkdir()
    work = jobs.Greedy(tmp_path / "begun", library)
    with pytest.raises(InputError, match=r"training needs memory; job 2 failed 3 times.*; take fewer jobs"):
        run(Joblib(2, "loky"), work, 3, tmp_path)
    assert len(list((tmp_path / "begun").iterdir())) == 2 + 3


@pytest.mark.parametrize("name", PROCESSES)
def test_a_killed_worker_loses_the_jobs_in_flight_alone(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    (tmp_path / "begun").mkdir()
    work = jobs.Killer(tmp_path / "begun", {3: 1})
    assert run(make_engine(name, request), work, 6, tmp_path) == {n: n * n for n in range(6)}
    # that of the killed worker, that of the other one, and the one that it may begin before the loss is seen
    assert len(list((tmp_path / "begun").iterdir())) <= 6 + 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["loky", CLUSTERS[0]])
def test_a_job_that_always_kills_its_worker_is_named(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"job \d lost its own 3 times: .*; if memory ran out, take fewer jobs"):
        run(make_engine(name, request), jobs.Killer(tmp_path, {0: 9}), 3, tmp_path)


@pytest.mark.parametrize("name", ["threads", "loky", *CLUSTERS])
def test_an_interruption_ends_what_is_running(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    engine = make_engine(name, request)
    task = Task(jobs.Slow(tmp_path / "begun"), 3, tmp_path / "run", stop_at_two)
    began = time.monotonic()
    results = run_jobs(engine, task)
    with pytest.raises(KeyboardInterrupt):
        list(results)
    assert time.monotonic() - began < 50
    assert not (tmp_path / "run").exists()
    assert run(engine, jobs.square, 3, tmp_path) == {0: 0, 1: 1, 2: 4}  # it is as good as new


def stop_at_two(reports: list[int]) -> None:
    if max(reports[1:]) >= 2:
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ENGINES)
def test_no_job_is_begun_once_it_is_enough(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    asked = iter([False, False, True])
    results = run(
        make_engine(name, request), jobs.Recorder(tmp_path / "begun"), 6, tmp_path, enough=lambda: next(asked, True)
    )
    assert results == {0: 0, 1: 1}


@pytest.mark.parametrize("name", ["threads", "loky"])
def test_progress_within_a_job_reaches_the_driver(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    reports: list[list[int]] = []
    task = Task(jobs.Slow(tmp_path), 2, tmp_path / "run", lambda values: stop_later(reports, values))
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(make_engine(name, request), task))
    seen = [values[1] for values in reports]
    assert seen == sorted(seen)
    assert len(set(seen)) >= 4


def stop_later(reports: list[list[int]], values: list[int]) -> None:
    reports.append(list(values))
    if values[1] > 12:
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["loky", CLUSTERS[1]])
def test_each_worker_sees_one_device(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was free for two jobs keeps its device."""
    for module in ("joblib_engine", "dask_engine") if name == "dask" else ("joblib_engine",):
        engine_module = importlib.import_module(f"thinned.studies.training.engines.{module}")
        monkeypatch.setattr(engine_module, "visible_devices", lambda: ("4", "7"))
    (tmp_path / "begun").mkdir()
    with contextlib.closing(choose_engine(2, name)) as engine:
        run(engine, jobs.Pair(tmp_path / "begun"), 8, tmp_path)
    devices = sorted(jobs.devices_of_processes(tmp_path / "begun").values(), key=sorted)
    assert devices == [{"4"}, {"7"}]


def test_a_ray_without_the_devices_that_jobs_need(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(InputError, match=r"needs a Ray cluster with GPUs; this one has none; start it with --num-gpus"):
        choose_engine(engine="ray", accelerators=True)


def test_threads_of_the_driver_leave_its_devices_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from thinned.studies.training.engines import joblib_engine

    monkeypatch.setattr(joblib_engine, "visible_devices", lambda: ("4", "7"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    (tmp_path / "begun").mkdir()
    run(Joblib(2, "threading"), jobs.Recorder(tmp_path / "begun"), 4, tmp_path)
    assert jobs.devices_of_processes(tmp_path / "begun") == {str(os.getpid()): {"4,7"}}


def test_as_many_jobs_as_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_module, "visible_devices", lambda: ("0", "1", "2"))
    assert choose_engine(accelerators=True).workers == 3
    monkeypatch.setattr(choose_module, "visible_devices", lambda: ())
    assert isinstance(choose_engine(accelerators=True), Serial)


def test_devices_are_those_the_caller_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(worker_module.torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert worker_module.visible_devices() == ("0", "1", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert worker_module.visible_devices() == ("2", "5")
    monkeypatch.setattr(worker_module.torch.cuda, "is_available", lambda: False)
    assert worker_module.visible_devices() == ()


def test_a_worker_that_does_not_see_the_folder_gets_the_work(tmp_path: Path) -> None:
    task = Task(jobs.Rows(tmp_path), 1, tmp_path / "run", lambda reports: None)
    with worker_module.run_files(task) as files:
        content = files.content()
        elsewhere = worker_module.Run(str(tmp_path / "elsewhere"), 0, (), (), {})
        outcome = worker_module.run_job(elsewhere, 0, content)
    assert outcome.result == (False, True, 1, 499500.0)


def test_a_worker_without_the_packages_is_named() -> None:
    error = RuntimeError("ray::run_job() (pid=7)\nModuleNotFoundError: No module named 'thinned.studies'\n")
    outcome = without_outcome(3, error)
    assert isinstance(outcome, Failed)
    assert outcome.final
    assert "needs the packages of the driver" in outcome.message
    assert "a worker says No module named 'thinned.studies'; install them" in outcome.message
    assert without_outcome(3, RuntimeError("the worker died\nsee its log")) == Lost(3, "RuntimeError: the worker died")
    assert without_outcome(3, RuntimeError()) == Lost(3, "RuntimeError")


def test_workers_of_other_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_jobs_module, "environment", lambda: environment() | {"instruction_set": "abacus"})
    words = "workers must have the driver's versions.*instruction set is '.*' on a worker and 'abacus' here"
    with pytest.raises(InputError, match=words):
        run(Serial(), jobs.square, 1, tmp_path)


def test_the_instruction_set_names_vectors_and_vendor() -> None:
    assert len(instruction_set().split()) >= 2
    assert environment()["torch"]


def test_a_joblib_config_is_honoured() -> None:
    with joblib.parallel_config(backend="threading", n_jobs=3):
        assert choose_engine().workers == 3
    with joblib.parallel_config(n_jobs=1):
        assert isinstance(choose_engine(), Serial)
    assert isinstance(choose_engine(1), Serial)
    assert choose_engine(3).workers == 3


def test_native_jobs_run_in_threads_unless_the_user_names_workers() -> None:
    assert isinstance(choose_engine(3, native=True), Threads)
    assert choose_engine(3, native=True).workers == 3
    assert choose_engine(-1, native=True).workers == joblib.cpu_count()
    assert isinstance(choose_engine(1, native=True), Serial)
    assert isinstance(choose_engine(3, "loky", native=True), Joblib)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        assert isinstance(choose_engine(native=True), Joblib)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((0, None, None), "jobs must be a whole number of at least 1, or -1 for all cores; got 0"),
        ((True, None, None), "jobs must be a whole number"),
        ((None, "slurm", None), "engine must be one of loky, ray, dask; got 'slurm'"),
        ((None, None, "10.0.0.1:6379"), "an address is that of a Ray or Dask cluster; got engine=None"),
    ],
)
def test_options_that_name_no_engine(options: tuple[Any, Any, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_engine(*options)


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package ray; it is not installed; .*pip install 'thinned\[ray\]'"):
        check_engine(None, "ray", None)


def test_objects_of_the_script_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import __main__

    build: Callable[[], int] = lambda: 7  # noqa: E731
    monkeypatch.setattr(__main__, "build", build, raising=False)
    assert main_objects("__main__:build") == {"build": build}
    assert main_objects("package:build") == main_objects(None) == main_objects("__main__:absent") == {}


def test_a_full_disk_is_one_sentence_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker_module.joblib, "dump", fail)
    with pytest.raises(InputError, match=r"the output folder must be writable; got: .*No space left.*; make room"):
        run(Joblib(2, "loky"), jobs.square, 2, tmp_path)
    assert list(tmp_path.iterdir()) == []
