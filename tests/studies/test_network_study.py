"""The study of a network of one's own, from examples to a verdict: on small networks and few epochs."""

import math
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch
from example_networks import Items, blobs, build
from scipy import stats
from torch import nn
from torch.utils.data import IterableDataset

import thinned
from thinned import Arm, Study
from thinned.errors import InputError
from thinned.studies import finished_networks, network_preparation
from thinned.studies.analysis.crossed import crossed_draws
from thinned.studies.design.own_network.options import NetworkOptions
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.results import Results
from thinned.studies.training.drive import Progress
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.store import Store

SMALL: dict[str, Any] = {
    "arms": ["dropout"],
    "rates": (0.2, 0.5),
    "epochs": 2,
    "folds": 2,
    "seeds": 1,
    "jobs": 1,
    "device": "cpu",
}
PILOT_NETWORKS, NETWORKS = 3 * 2, 2 * 2


def study(out: Path, data: object = None, network: Callable[[], nn.Module] = build, **options: Any) -> Study:
    return thinned.study(blobs(60) if data is None else data, network=network, out=out, **{**SMALL, **options})


def numbers(results: Results) -> tuple[object, ...]:
    """What must not depend on how a study was run."""
    return results.plan.digest, results.settings, results.arms, results.comparisons, results.verdict, results.pilot


def records(folder: Path) -> list[TrainedNetwork]:
    with closing(sqlite3.connect(folder / "study.sqlite")) as connection:
        rows = connection.execute("SELECT record FROM network ORDER BY repeat, fold, setting").fetchall()
    return [TrainedNetwork.from_json(row[0]) for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """An uninterrupted study; no test writes into its folder."""
    return study(tmp_path_factory.mktemp("study") / "whole")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a network was trained")

    monkeypatch.setattr(Store, "add", refuse)


# --- the whole way -----------------------------------------------------------------------------------------------


def test_from_arrays_to_a_verdict(whole: Study) -> None:
    results = whole.results
    assert results.run.networks == NETWORKS == finished_networks(whole.folder) - PILOT_NETWORKS
    assert isinstance(results.pilot, thinned.studies.results.PilotSummary)
    assert results.pilot.networks == PILOT_NETWORKS == finished_networks(whole.folder / "pilot")
    assert results.pilot.nested == 3 * 2
    assert [setting.label for setting in results.pilot.settings] == ["no regularisation", "dropout 0.2", "dropout 0.5"]
    assert [arm.name for arm in results.arms] == ["none", "dropout"]
    assert isinstance(results.plan.own, msgspec.Struct)
    assert results.plan.own.stage == "confirm"
    assert [(site.name, site.rate) for site in results.plan.own.sites] == [("3", 0.5)]
    assert (results.data.task, results.data.rows, results.data.classes) == ("multiclass", 60, dict.fromkeys("012", 20))
    assert whole.verdict.startswith(results.verdict.headline)


def test_the_pilot_chooses_by_its_own_validation_losses(whole: Study) -> None:
    pilot = records(whole.folder / "pilot")
    means = [np.mean([n.best.validation for n in pilot if n.setting == setting]) for setting in range(3)]
    labels = ["no regularisation", ["dropout 0.2", "dropout 0.5"][int(np.argmin(means[1:]))]]
    assert isinstance(whole.results.pilot, msgspec.Struct)
    assert [setting.label for setting in whole.results.pilot.settings if setting.chosen] == labels
    assert [setting.label for setting in whole.results.settings] == labels
    shown = [float(np.mean(setting.validation)) for setting in whole.results.pilot.settings]
    assert shown == pytest.approx(means)


def test_a_finished_study_is_read_again(whole: Study, tmp_path: Path) -> None:
    assert Study.load(whole.folder).results == whole.results
    page = whole.report(tmp_path / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert whole.results.verdict.headline[:30] in page


@pytest.mark.usefixtures("no_training")
def test_the_same_call_again_trains_nothing(whole: Study, tmp_path: Path) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    assert numbers(study(tmp_path / "run").results) == numbers(whole.results)


@pytest.mark.slow
def test_two_processes_find_the_same_numbers(whole: Study, tmp_path: Path) -> None:
    assert numbers(study(tmp_path / "run", jobs=2).results) == numbers(whole.results)


def _two_labels() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = blobs(60)
    return x, torch.stack([y == 0, y == 1], 1).float()


def _tokens() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = blobs(120)
    return x.view(60, 2, 3), y.view(60, 2)


METRICS_OF = {"regression": {"rmse", "mae", "r2"}, "multilabel": set(), "tokens": {"token_accuracy"}}


def _multilayer(outputs: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, outputs))


class Two(nn.Module):
    """A classifier of each token that puts classes second, as torch's losses take them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = _multilayer(3)()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.layers(x)).transpose(1, 2)


@pytest.mark.parametrize(
    ("task", "data", "network"),
    [
        ("regression", lambda: (blobs(60)[0], blobs(60)[0].sum(1)), _multilayer(1)),
        ("multilabel", _two_labels, _multilayer(2)),
        ("tokens", _tokens, Two),
    ],
)
def test_other_targets(task: str, data: Callable[[], object], network: Callable[[], nn.Module], tmp_path: Path) -> None:
    results = study(tmp_path / "run", data(), network, rates=(0.5,)).results
    assert results.data.task == task
    assert set(results.metrics) == {"loss", *METRICS_OF[task]}
    assert results.run.networks == NETWORKS
    assert all(math.isfinite(comparison.difference) for comparison in results.comparisons)


def test_a_score_decides_and_a_loss_trains(tmp_path: Path) -> None:
    """The score is the error of a class; what a network is trained by is something else."""

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, y, label_smoothing=0.2)

    def errors(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (output.argmax(1) != y).float()

    results = study(tmp_path / "run", rates=(0.5,), loss=loss, score=errors).results
    assert results.selection == "loss"
    for network in records(tmp_path / "run"):
        assert network.best.test is not None
        assert network.best.test * 15 == pytest.approx(round(network.best.test * 15), abs=1e-5)


# --- interruptions -----------------------------------------------------------------------------------------------


class InterruptionError(Exception):
    """Stands for an interruption."""


@pytest.mark.parametrize("stage", ["pilot", "confirm"])
def test_an_interrupted_study_goes_on_to_the_same_numbers(stage: str, whole: Study, tmp_path: Path) -> None:
    def interrupt(step: Progress, plan: Plan) -> None:
        if plan.network_design.stage == stage and step.networks >= 2:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        study(tmp_path / "run", progress=interrupt)
    place = tmp_path / "run" / ("pilot" if stage == "pilot" else "")
    before = finished_networks(place) - (PILOT_NETWORKS if stage == "confirm" else 0)
    assert 0 < before < {"pilot": PILOT_NETWORKS, "confirm": NETWORKS}[stage]
    steps: list[float] = []
    watch: Callable[[Progress, Plan], None] = lambda step, plan: (  # noqa: E731
        steps.append(step.networks) if plan.network_design.stage == stage else None
    )
    assert numbers(study(tmp_path / "run", progress=watch).results) == numbers(whole.results)
    assert min(steps) >= before


def test_preparation_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    network_preparation.prepare_network_study(blobs(60), build, NetworkOptions(epochs=1, folds=2))
    assert torch.equal(torch.get_rng_state(), state)


# --- a given test set --------------------------------------------------------------------------------------------


def test_the_intervals_of_a_given_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of seeds by test examples, analysed here by hand; the pilot reads none of the test examples."""
    stage, read = ["nested"], set()
    source = ExampleSet.source

    def watched(examples: ExampleSet, part: Any) -> object:
        read.add((stage[-1], part))
        return source(examples, part)

    monkeypatch.setattr(ExampleSet, "source", watched)
    note: Callable[[Progress, Plan], None] = lambda step, plan: stage.append(plan.network_design.stage)  # noqa: E731
    data = thinned.Examples(blobs(60), test=blobs(18, seed=1))
    results = study(tmp_path / "run", data, rates=(0.5,), seeds=5, progress=note).results
    assert {"pilot", "confirm"} <= {*stage}
    assert ("confirm", "test") in read
    assert ("pilot", "eval") in read
    assert ("pilot", "test") not in read

    tables = []
    for setting in (0, 1):
        kept = [n.example_losses for n in records(tmp_path / "run") if n.setting == setting]
        tables.append(np.array([losses.values("best") for losses in kept if losses is not None], dtype=np.float64))
    low, high = _interval_of_crossed(tables[0] - tables[1])
    comparison = next(c for c in results.comparisons if c.primary)
    assert (comparison.arm, comparison.when, comparison.against_when) == ("dropout", "best", "best")
    assert (comparison.low, comparison.high) == pytest.approx((low, high), rel=1e-9)
    assert results.test_train_ratio == 18 / 60
    assert not {"few_splits", "few_seeds"} & {warning.code for warning in results.warnings}


def _interval_of_crossed(table: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """The 95 % interval of the mean in a two-way layout of random effects without replication."""
    seeds, examples = table.shape
    assert (seeds, examples) == (5, 18)
    rows, columns, mean = table.mean(1), table.mean(0), table.mean()
    a = rows.var(ddof=1) / seeds
    b = columns.var(ddof=1) / examples
    residual = table - rows[:, None] - columns + mean
    df_of_residual = (seeds - 1) * (examples - 1)
    e = (residual**2).sum() / df_of_residual / table.size
    variance = max(a + b - e, a, b)
    parts = [(e, df_of_residual), *[(v, df) for v, df in ((a, seeds - 1), (b, examples - 1)) if v > e]]
    df = variance**2 / sum(v**2 / n for v, n in parts)
    half = stats.t.ppf(0.975, df) * math.sqrt(variance)
    return mean - half, mean + half


def test_other_scores_of_a_given_test_set_have_the_interval_of_seeds_and_examples(tmp_path: Path) -> None:
    """Made here by hand from the records; that of the examples is the greater part, which seeds alone do not show."""
    results = study(tmp_path / "run", (blobs(60), blobs(18, seed=1)), rates=(0.5,), seeds=3).results
    networks = [n for n in records(tmp_path / "run") if n.setting == 1]
    observed = np.array([n.best.scores["accuracy"] for n in networks], dtype=np.float64)
    draws = np.stack([n.drawn_scores.values("best", "accuracy") for n in networks if n.drawn_scores is not None])
    expected = crossed_draws(observed, draws, 18).interval()
    (found,) = (arm.best.scores["accuracy"] for arm in results.arms if arm.name == "dropout")
    assert found.mean == pytest.approx(observed.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    (setting,) = (setting for setting in results.settings if setting.label == "dropout 0.5")
    assert setting.best.scores["accuracy"] == found
    assert all(arm.end.scores["roc_auc"].known is not None for arm in results.arms)


def test_the_groups_of_a_given_test_set_count_as_one_example_each(tmp_path: Path) -> None:
    """A test set that holds every example twice says as much as one that holds it once."""
    x, y = blobs(18, seed=1)
    options: dict[str, Any] = {"rates": (0.5,), "seeds": 3}
    once = study(tmp_path / "once", (blobs(60), (x, y)), groups=(range(60), None), **options).results
    groups = (range(60), [100 + number for number in range(18)] * 2)
    twice = study(tmp_path / "twice", (blobs(60), (x.repeat(2, 1), y.repeat(2))), groups=groups, **options).results
    one, two = (next(c for c in results.comparisons if c.primary) for results in (once, twice))
    assert (two.low, two.high, two.p_value) == pytest.approx((one.low, one.high, one.p_value), rel=1e-4)
    assert two.low < two.difference < two.high
    accuracies = [results.arms[1].best.scores["accuracy"] for results in (once, twice)]
    assert (accuracies[1].low, accuracies[1].high) == pytest.approx((accuracies[0].low, accuracies[0].high), rel=1e-4)


def test_groups_of_both_sets_are_warned_about(tmp_path: Path) -> None:
    told: list[str] = []
    data, groups = (blobs(60), blobs(18, seed=1)), (range(60), range(57, 75))
    note: Callable[[Progress, Plan], None] = lambda step, plan: told.append(step.doing)  # noqa: E731
    results = study(tmp_path / "run", data, groups=groups, rates=(0.5,), seeds=2, progress=note).results
    message = next(warning.message for warning in results.warnings if warning.code == "shared_groups")
    assert message.startswith("3 of 18 groups of the test set have examples in the training set")
    assert message in told
    assert "shared_groups" in results.verdict.warnings


def test_few_seeds_of_a_given_test_set_are_warned_of(tmp_path: Path) -> None:
    results = study(tmp_path / "run", (blobs(60), blobs(18, seed=1)), rates=(0.5,), seeds=2).results
    assert "few_seeds" in {warning.code for warning in results.warnings}


# --- designs and networks ----------------------------------------------------------------------------------------


def test_the_nested_design(tmp_path: Path) -> None:
    told: list[str] = []
    results = study(tmp_path / "run", design="nested", progress=lambda step, plan: told.append(step.doing)).results
    assert results.pilot is msgspec.UNSET
    assert isinstance(results.plan.own, msgspec.Struct)
    assert results.plan.own.stage == "nested"
    assert results.run.networks == 3 * 2
    assert not (tmp_path / "run" / "pilot").exists()
    assert told[0].startswith("6 networks train every setting on every split, and one on all examples, for use.")


def test_a_network_without_dropout_gets_some(tmp_path: Path) -> None:
    plain = lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3))  # noqa: E731
    results = study(tmp_path / "run", network=plain, rates=(0.9,)).results
    assert isinstance(results.plan.own, msgspec.Struct)
    assert results.plan.own.inserted is not None
    assert results.plan.own.inserted.layers == ("2",)
    none, dropout = (arm.best.test for arm in results.arms)
    assert none != dropout


def test_what_diverges_in_the_pilot_is_told(tmp_path: Path) -> None:
    mine = Arm("mine", "my arm", (Setting(learning_rate=1e30), Setting(learning_rate=0.01)))
    results = study(tmp_path / "run", arms=[mine]).results
    assert isinstance(results.pilot, msgspec.Struct)
    assert len(results.pilot.settings) == 2
    told = [warning.message for warning in results.warnings if warning.code == "diverged"]
    assert any(message.startswith("In the pilot: ") and "2 of 2 networks" in message for message in told)
    assert "Some networks diverged" in results.verdict.detail


def test_arms_that_never_began_are_named_with_the_reason(tmp_path: Path) -> None:
    lost = Arm("lost", "my lost arm", (Setting(learning_rate=1e30),))
    results = study(tmp_path / "run", arms=["dropout", lost]).results
    assert isinstance(results.run.untried, dict)
    assert results.run.untried["my lost arm"] == "its networks diverged in the pilot"
    assert "locked dropout" in results.run.untried
    limited = study(tmp_path / "limited", arms=None, minutes=1e-6).results
    assert isinstance(limited.run.untried, dict)
    assert limited.run.untried["weight decay"] == "left out to fit the time limit"


def test_a_pilot_that_diverges_ends_the_study(tmp_path: Path) -> None:
    mine = Arm("mine", "my arm", (Setting(learning_rate=1e30),))
    with pytest.raises(InputError, match=r"must stay finite in the pilot; my arm did not"):
        study(tmp_path / "run", arms=[mine])


@pytest.mark.slow
def test_functions_of_a_script(tmp_path: Path) -> None:
    """What a script defines reaches processes that do not import it."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import torch, thinned
            from torch import nn

            def build():
                return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))

            def loss(output, y):
                return nn.functional.cross_entropy(output, y, label_smoothing=0.1)

            if __name__ == "__main__":
                x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
                study = thinned.study(
                    (x, x.argmax(1)), network=build, loss=loss, out="run", arms=["dropout"], rates=(0.5,), epochs=2,
                    folds=2, seeds=1, jobs=2, device="cpu",
                )
                print(study.results.run.networks, study.results.plan.network)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", "__main__:build"]


# --- resumption --------------------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "data": ({"data": blobs(60, seed=1)}, "the data have changed since"),
    "rates": ({"rates": (0.2, 0.6)}, "settings differ: no longer dropout 0.5, now dropout 0.6"),
    "folds": ({"folds": 3}, "folds was 2 and is 3"),
    "seed": ({"seed": 1}, "seed was"),
    "epochs": ({"epochs": 3}, "epochs was 2 and is 3"),
    "momentum": ({"momentum": 0.5}, "momentum was 0.9 and is 0.5"),
    "loss": ({"loss": nn.functional.cross_entropy}, "the source of the loss has changed"),
    "collate": ({"collate_fn": torch.utils.data.default_collate}, "the source of the collate function has changed"),
    "network": ({"network": lambda: nn.Sequential(*build(), nn.Linear(3, 3))}, "the source of the network has changed"),
    "design": ({"design": "nested"}, "has another design"),
    "minutes": ({"minutes": 5}, "minutes must be those by which the study"),
}


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_study_does_not_go_on(change: str, whole: Study, tmp_path: Path) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    options, told = CHANGES[change]
    with pytest.raises(InputError, match=told):
        study(tmp_path / "run", **options)
    assert numbers(Study.load(tmp_path / "run").results) == numbers(whole.results)
    assert (finished_networks(tmp_path / "run"), finished_networks(tmp_path / "run/pilot")) == (10, 6)


@pytest.mark.usefixtures("no_training")
def test_a_changed_source_does_not_go_on(whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    with monkeypatch.context() as changed:
        changed.setattr(network_preparation, "source_digest", lambda function: "0" * 64)
        with pytest.raises(InputError, match="the source of the network has changed since"):
            study(tmp_path / "run")
    assert numbers(study(tmp_path / "run").results) == numbers(whole.results)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("design", ["confirm", "nested"])
def test_a_folder_of_something_else_stays_as_it_is(design: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes\.txt'"):
        study(tmp_path, design=design)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


# --- what can not be studied -------------------------------------------------------------------------------------


class Stream(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(zip(*blobs(60), strict=True))


def _unequal() -> Items:
    x, y = blobs(60)
    return Items([row[: 2 + number % 2] for number, row in enumerate(x)], y)


class Changing:
    """Builds another network each time."""

    def __init__(self) -> None:
        self.built = 0

    def __call__(self) -> nn.Module:
        self.built += 1
        network = build()
        network.get_parameter("0.bias").data.fill_(self.built)
        return network


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "stream": ({"data": Stream()}, "must be map-style"),
    "shapes": ({"data": _unequal()}, "examples must have equal shapes"),
    "loss": ({"loss": lambda output, y: output.mean() * math.nan}, "the loss of a batch must be a finite number"),
    "outputs": ({"network": lambda: nn.Sequential(nn.Linear(3, 2))}, "must have an output for each class"),
    "build": ({"network": Changing()}, "build must make the same network under the same seed"),
    "a network": (
        {"network": nn.Linear(3, 2)},
        "network must be a function that returns a fresh .*; got a Linear; pass",
    ),
    "arm": ({"arms": ["locked"]}, "arms must be among"),
    "hidden": ({"hidden": (8,)}, "hidden is an option of a study of a table; this one is a study of examples"),
    "seeds": ({"data": (blobs(60), blobs(18)), "seeds": 1}, "a given test set needs at least 2 seeds; got 1"),
    "groups": ({"data": (blobs(60), blobs(18)), "groups": range(60)}, "groups must be those of both sets"),
    "limit": ({"design": "nested", "minutes": 1}, "a time limit needs design='confirm'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_can_not_be_studied_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    options, told = BAD[name]
    with pytest.raises(InputError, match=told) as caught:
        study(tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_misspelt_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="an option must be one of the study's; got epoch=; perhaps epochs"):
        study(tmp_path / "run", epoch=3)
    with pytest.raises(TypeError, match="got progres=; perhaps progress"):
        study(tmp_path / "run", progres=False)
    assert not (tmp_path / "run").exists()


def test_a_table_has_no_patience(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(60), "y": [0.0, 1.0, 3.0] * 20})
    with pytest.raises(
        InputError, match="patience is an option of a study of examples; this one is a study of a table"
    ):
        thinned.study(frame, "y", out=tmp_path / "run", patience=3)  # type: ignore[call-overload]
    assert not (tmp_path / "run").exists()


# --- too little memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")]
)
def test_a_lack_of_memory_is_one_sentence_and_loses_nothing(error: Exception, tmp_path: Path) -> None:
    scarce: list[bool] = []

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if any(scarce):
            raise error
        return nn.functional.cross_entropy(output, y)

    watch: Callable[[Progress, Plan], None] = lambda step, plan: scarce.append(step.networks > 2)  # noqa: E731
    with pytest.raises(InputError, match=r"training needs memory; network .* failed .*; take fewer jobs") as caught:
        study(tmp_path / "run", loss=loss, progress=watch)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("the same command goes on from the finished networks")
    before = finished_networks(tmp_path / "run")
    assert before >= 2
    scarce.clear()
    steps: list[float] = []
    watch = lambda step, plan: (  # noqa: E731
        steps.append(step.networks) if plan.network_design.stage == "pilot" else None
    )
    results = study(tmp_path / "run", loss=loss, progress=watch).results
    assert results.run.networks == NETWORKS
    assert min(steps) >= before
    assert numbers(results)[1:] == numbers(study(tmp_path / "whole", loss=loss).results)[1:]


@pytest.mark.slow
def test_workers_that_are_killed_are_one_sentence_and_lose_nothing(tmp_path: Path) -> None:
    """As the system kills a process that takes too much memory."""
    mark = tmp_path / "scarce"

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if mark.exists() and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return nn.functional.cross_entropy(output, y)

    watch: Callable[[Progress, Plan], None] = lambda step, plan: mark.touch() if step.networks > 3 else None  # noqa: E731
    with pytest.raises(
        InputError, match=r"training needs its workers to live; network .*; if memory ran out"
    ) as caught:
        study(tmp_path / "run", loss=loss, jobs=2, progress=watch)
    assert "\n" not in str(caught.value)
    before = finished_networks(tmp_path / "run")
    assert before >= 2
    mark.unlink()
    results = study(tmp_path / "run", loss=loss, jobs=2).results
    assert numbers(results)[1:] == numbers(study(tmp_path / "whole", loss=loss).results)[1:]
