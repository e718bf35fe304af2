"""The numbers of a study do not depend on where, how, and in what order its networks were trained."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_jobs
import numpy as np
import pandas as pd
import pytest
from same_results import assert_same
from typer.testing import CliRunner

import thinned
from thinned.errors import InputError
from thinned.studies.results.file import Results, read
from thinned.studies.shards import merge_shards, train_shard
from thinned.studies.training import drive as drive_module
from thinned.studies.training import store as store_module
from thinned.studies.training.engines import choose as choose_module
from thinned.studies.training.engines.engine import Engine, Task
from thinned.studies.training.engines.run_jobs import run_jobs
from thinned_cli.app import app

OPTIONS: dict[str, Any] = {
    "arms": ("dropout", "batch_norm"),
    "rates": (0.2, 0.6),
    "folds": 2,
    "seeds": 3,
    "hidden": (8,),
    "epochs": 3,
}


def make_frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    words = ["a cat", "a dog", "two dogs and a cat", "no animal at all", "an owl"]
    frame = pd.DataFrame({"x": rng.normal(size=200), "word": rng.choice(words, 200), "n": rng.poisson(3, 200)})
    frame["y"] = np.where(frame["x"] + (frame["word"] == "a cat") + rng.normal(size=200) > 0.3, "yes", "no")
    return frame


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "pets.csv"
    make_frame().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def one(csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of one process."""
    return thinned.study(csv, "y", out=tmp_path_factory.mktemp("one"), jobs=1, **OPTIONS).results


@pytest.mark.parametrize("jobs", [2, 5])
def test_threads_of_the_driver(
    jobs: int, one: Results, csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the extension trains, no process starts."""
    monkeypatch.setattr(choose_module, "Joblib", None)
    assert_same(thinned.study(csv, "y", out=tmp_path, jobs=jobs, **OPTIONS).results, one)


def test_two_processes(one: Results, csv: Path, tmp_path: Path) -> None:
    assert_same(thinned.study(csv, "y", out=tmp_path, jobs=2, engine="loky", **OPTIONS).results, one)
    assert not (tmp_path / store_module.TEMPORARY).exists()


def test_two_threads_of_joblib(one: Results, csv: Path, tmp_path: Path) -> None:
    import joblib

    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert_same(thinned.study(csv, "y", out=tmp_path, **OPTIONS).results, one)


@pytest.mark.slow
def test_joblibs_spawned_processes(one: Results, csv: Path, tmp_path: Path) -> None:
    """As on macOS and Windows; multiprocessing's spawn imports the script again, which therefore has a guard."""
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, joblib, thinned\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    with joblib.parallel_config(backend='multiprocessing', n_jobs=2):\n"
        f"        thinned.study({str(csv)!r}, 'y', out={str(tmp_path / 'run')!r}, **{OPTIONS!r})\n"
    )
    subprocess.run([sys.executable, script], check=True, timeout=400)
    assert_same(read(tmp_path / "run"), one)


@pytest.mark.slow
def test_a_script_without_a_guard_and_a_network_of_its_own(tmp_path: Path, csv: Path) -> None:
    """Workers look for the network in the script's ``__main__``, which they do not run."""
    script = tmp_path / "script.py"
    options = OPTIONS | {"arms": ("dropout",), "network": "__main__:build"}
    script.write_text(
        "import thinned, torch\n"
        "def build(inputs, outputs):\n"
        "    first, last = torch.nn.Linear(inputs, 4), torch.nn.Linear(4, outputs)\n"
        "    return torch.nn.Sequential(first, torch.nn.Dropout(0.5), last)\n"
        f"for jobs in (1, 2):\n"
        f"    thinned.study({str(csv)!r}, 'y', out={str(tmp_path)!r} + f'/{{jobs}}', jobs=jobs, **{options!r})\n"
    )
    subprocess.run([sys.executable, script], check=True, timeout=400)
    assert_same(read(tmp_path / "2"), read(tmp_path / "1"))


@pytest.mark.slow
def test_a_ray_cluster_of_two_workers(one: Results, csv: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        assert_same(thinned.study(csv, "y", out=tmp_path, engine="ray", **OPTIONS).results, one)
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_a_dask_cluster_of_two_workers(one: Results, csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    assert_same(thinned.study(csv, "y", out=tmp_path, engine="dask", jobs=2, **OPTIONS).results, one)


def test_a_worker_that_is_killed_half_way(
    one: Results, csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()

    def run(engine: Engine, task: Task[Any], **options: Any) -> Iterator[tuple[int, Any]]:
        return run_jobs(engine, task._replace(work=engine_jobs.KilledTraining(begun, task.work)), **options)

    monkeypatch.setattr(drive_module, "run_jobs", run)
    assert_same(thinned.study(csv, "y", out=tmp_path / "run", jobs=2, engine="loky", **OPTIONS).results, one)
    assert len(list(begun.glob("2-*"))) == 2


@pytest.fixture(scope="module")
def shards(csv: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    counts = [train_shard(csv, "y", f"{n}/3", out=folder / str(n), jobs=1, **OPTIONS) for n in (1, 2, 3)]
    assert all(counts)
    return [folder / str(n) for n in (1, 2, 3)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=str)
def test_shards_merged_in_any_order(order: tuple[int, ...], shards: list[Path], one: Results, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["merge", *(str(shards[n]) for n in order), "--out", str(tmp_path / "all")])
    assert result.exit_code == 0, result.output
    assert_same(read(tmp_path / "all"), one)
    assert thinned.Study.load(tmp_path / "all").model.predict(make_frame()).shape == (200, 2)


def test_the_same_shard_twice_counts_once(shards: list[Path], one: Results, tmp_path: Path) -> None:
    assert_same(merge_shards([shards[1], *shards], out=tmp_path).results, one)


def test_a_missing_shard_is_a_sentence_and_merging_goes_on(shards: list[Path], one: Results, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs every network of the plan; \d+ of \d+ networks are .*; run the other"):
        merge_shards(shards[:2], out=tmp_path)
    assert_same(merge_shards(shards, out=tmp_path).results, one)


def test_shards_of_another_plan_or_machine_are_refused(
    shards: list[Path], csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_shard(csv, "y", "1/3", out=tmp_path / "other", jobs=1, **OPTIONS | {"epochs": 2})
    with pytest.raises(InputError, match=r"shards must be of one plan; those of .* differ in epochs; run them with"):
        merge_shards([*shards, tmp_path / "other"], out=tmp_path / "all")
    monkeypatch.setattr(store_module, "_versions", lambda plan: {"torch": "2", "instruction_set": "arm64 NEON"})
    train_shard(csv, "y", "1/3", out=tmp_path / "arm", jobs=1, **OPTIONS)
    with pytest.raises(InputError, match=r"one set of versions and instructions.*; .* is '.*' in .* and .* in .*arm;"):
        merge_shards([*shards, tmp_path / "arm"], out=tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_what_is_no_shard_is_refused(shards: list[Path], csv: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs the folders of shards; .* holds no study\.sqlite"):
        merge_shards([tmp_path], out=tmp_path / "all")
    (tmp_path / "study.sqlite").write_text("a diary")
    with pytest.raises(InputError, match="was not written with --shard"):
        merge_shards([tmp_path], out=tmp_path / "all")
    changed = tmp_path / "changed.csv"
    make_frame().iloc[1:].to_csv(changed, index=False)
    with pytest.raises(InputError, match="needs the table of the shards; it has changed since"):
        merge_shards(shards, out=tmp_path / "all", data=changed)


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        ("0/3", "must be given as NUMBER/PARTS, as 3/16; got '0/3'"),
        ("4/3", "must be given as NUMBER/PARTS"),
        ("third", "must be given as NUMBER/PARTS"),
        ("1/99", "not be more shards than cohorts; got 99 for"),
    ],
)
def test_a_share_that_there_is_not(shard: str, words: str, csv: Path, tmp_path: Path) -> None:
    options = ["--target", "y", "--out", str(tmp_path / "out"), "--hidden", "8", "--epochs", "1", "--folds", "2"]
    result = CliRunner().invoke(app, ["study", str(csv), *options, "--shard", shard])
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_the_command_line_trains_a_shard(csv: Path, tmp_path: Path) -> None:
    options = ["--target", "y", "--arms", "dropout", "--rates", "0.5", "--folds", "2", "--seeds", "1", "--epochs", "1"]
    result = CliRunner().invoke(app, ["study", str(csv), *options, "--out", str(tmp_path / "2"), "--shard", "2/2"])
    assert result.exit_code == 0, result.output
    assert "`thinned merge` puts shards together" in " ".join(result.output.split())
    assert not (tmp_path / "2" / "results.json").exists()
