"""One network by a training function of the user's: pairs, scores, and what is refused."""

import dataclasses
import math
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from example_networks import CONFIG, blobs, build, split_of, with_rate
from own_training import losses, train
from torch import nn

from thinned import TrainingRun
from thinned.errors import InputError
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.examples.load import load_examples
from thinned.studies.training.loop import NetworkFunctions
from thinned.studies.training.own_training.fields import needed_fields
from thinned.studies.training.own_training.train import OwnTraining, train_by_function
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.user_code import UserCodeError

EXAMPLES = load_examples(blobs(48))
GIVEN = load_examples((blobs(48), blobs(15, seed=1)))
DROPOUT = Setting(dropout=0.5)


def trained(
    function: Callable[..., object] = train,
    setting: Setting = DROPOUT,
    *,
    given: bool = False,
    needed: tuple[str, ...] = (),
    folder: Path | None = None,
    alive: Callable[[], None] = lambda: None,
    seed: int = 1,
    **functions: Any,
) -> TrainedNetwork:
    examples = GIVEN if given else EXAMPLES
    own = NetworkFunctions(build, train=function)._replace(**functions)
    training = OwnTraining(
        own, with_rate, examples, split_of(examples, tested=not given), CONFIG, setting, needed, seed
    )
    return train_by_function(training, Member(0, 0, 0), folder, alive)


def untrained(network: nn.Module, run: TrainingRun) -> None:
    """Trains one step, so that it is a training."""
    x, _ = run.training[0]  # type: ignore[misc]
    network[0].weight.grad = torch.ones_like(network[0].weight)  # type: ignore[index, union-attr, operator]
    network(torch.stack([x, x]))
    torch.optim.SGD(network.parameters(), lr=0.01).step()


# --- what is recorded ----------------------------------------------------------------------------------------------


def test_a_record_is_what_the_function_leaves() -> None:
    left: dict[str, object] = {}

    def watched(network: nn.Module, run: TrainingRun) -> None:
        train(network, run)
        left.update({part: float(losses(network, getattr(run, part)).mean()) for part in ("validation", "test")})
        left["seed"], left["curve"] = run.seed, run.record.curve

    network = trained(watched)
    assert network.best == network.end
    assert network.best.validation == pytest.approx(left["validation"])
    assert network.best.test == pytest.approx(left["test"])
    assert network.best.train == pytest.approx(network.best.validation, rel=1)  # type: ignore[arg-type]
    assert network.curves.train == ()
    assert network.curves.validation == left["curve"]
    assert len(network.curves.validation) == 3
    assert network.best_epoch == 1 + int(np.argmin(network.curves.validation))  # type: ignore[arg-type]
    assert network.example_losses is None
    assert {"loss", "accuracy"} <= {*network.best.scores}
    assert isinstance(left["seed"], int)
    assert 0 <= left["seed"] < 2**31


def test_without_reports_the_curve_is_the_loss_after_training() -> None:
    network = trained(untrained)
    assert network.curves.validation == (network.best.validation,)
    assert network.best_epoch == 1


def test_parts_are_those_of_the_split() -> None:
    def check(network: nn.Module, run: TrainingRun) -> None:
        split = split_of(EXAMPLES)
        for part, rows in zip((run.training, run.validation, run.test), split[2:], strict=True):
            assert [int(y) for _, y in part] == EXAMPLES.target[rows].tolist()  # type: ignore[attr-defined]
        untrained(network, run)

    trained(check)


def test_a_given_test_set_keeps_the_loss_of_each_example() -> None:
    def scored(network: nn.Module, run: TrainingRun) -> torch.Tensor:
        train(network, run)
        assert len(run.test) == 15
        return losses(network.eval(), run.test)

    ours, own = trained(given=True), trained(scored, given=True)
    assert ours.example_losses is not None
    assert own.example_losses is not None
    assert ours.example_losses.values("best") == pytest.approx(own.example_losses.values("best"), rel=1e-5)
    assert ours.best.test == pytest.approx(own.best.test)
    assert [*own.best.scores] == ["loss"]


def test_where_only_the_function_can_score() -> None:
    """The network's output is nothing that the study understands."""

    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = build()

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [self.layers(x)]

    def scored(network: nn.Module, run: TrainingRun) -> np.ndarray[Any, Any]:
        untrained(network.layers, run)  # type: ignore[arg-type]
        network(torch.zeros(2, 3))
        run.scores(validation=np.linspace(0, 1, len(run.validation)))
        return np.full(len(run.test), 0.25)

    network = trained(scored, build=Opaque)
    assert network.best.validation == pytest.approx(0.5)
    assert network.best.test == 0.25
    assert network.best.train is not None
    assert math.isnan(network.best.train)  # unknown, which is not "diverged"
    assert TrainedNetwork.from_json(network.to_json()).best.test == 0.25

    def unscored(network: nn.Module, run: TrainingRun) -> None:
        scored(network, run)
        run.record.validation_losses = None

    with pytest.raises(InputError, match="the network must return a tensor; got list"):
        trained(unscored, build=Opaque)


def test_a_score_of_the_users_evaluates() -> None:
    def errors(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (output.argmax(1) != y).float()

    network = trained(score=errors)
    assert network.best.test is not None
    assert network.best.test * 12 == pytest.approx(round(network.best.test * 12))


def test_a_network_that_diverged_is_a_result() -> None:
    def explode(network: nn.Module, run: TrainingRun) -> list[float]:
        untrained(network, run)
        run.report(1, math.nan)
        with torch.no_grad():
            network[0].weight.fill_(math.inf)  # type: ignore[index, union-attr, operator]
        return [math.nan] * len(run.test)

    network = trained(explode)
    assert network.best.validation is network.best.test is None
    assert network.curves.validation == (None,)


# --- pairs and repeats ---------------------------------------------------------------------------------------------


def test_the_same_plan_gives_the_same_bits() -> None:
    one = trained()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert trained() == one
    assert torch.equal(torch.get_rng_state(), state)
    assert trained(seed=2) != one
    found: list[TrainedNetwork] = []
    threads = [threading.Thread(target=lambda: found.append(trained())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [one, one]


def test_settings_share_weights_order_and_masks() -> None:
    """A higher rate drops what a lower one drops, and more; order and initial weights are the same."""
    begun: dict[float, tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]] = {}

    def watched(network: nn.Module, run: TrainingRun) -> None:
        kept: list[torch.Tensor] = []
        handle = network[3].register_forward_hook(lambda m, args, output: kept.append(output == 0))  # type: ignore[index, operator]
        network[2] = nn.Identity()  # type: ignore[index]
        network(torch.ones(4, 3) + torch.arange(4)[:, None])
        handle.remove()
        weight = network[0].weight.detach().clone()  # type: ignore[index, union-attr, operator]
        begun[float(network[3].p)] = weight, torch.randperm(20), kept[0], run.seed  # type: ignore[index, union-attr, arg-type]
        untrained(network, run)

    for rate in (0.2, 0.6):
        trained(watched, Setting(dropout=rate))
    low, high = begun[0.2], begun[0.6]
    assert torch.equal(low[0], high[0])
    assert torch.equal(low[1], high[1])
    assert low[3] == high[3]
    assert low[2].sum() < high[2].sum()
    assert bool((high[2] | ~low[2]).all())


def test_the_network_arrives_in_training_mode() -> None:
    """Networks of transformers come out of a checkpoint in evaluation mode."""

    def check(network: nn.Module, run: TrainingRun) -> None:
        assert network.training
        untrained(network, run)

    trained(check, build=lambda: build().eval())


# --- folders -------------------------------------------------------------------------------------------------------


def test_an_interrupted_network_finds_its_files_and_a_finished_one_leaves_none(tmp_path: Path) -> None:
    folder = tmp_path / "kept" / "one"
    steps: list[str] = []

    def resume(network: nn.Module, run: TrainingRun) -> None:
        steps.append("resumed" if (run.folder / "state").exists() else "new")
        (run.folder / "state").write_text("half")
        if len(steps) == 1:
            raise ValueError("the power went off")
        untrained(network, run)

    with pytest.raises(UserCodeError, match="ValueError: the power went off"):
        trained(resume, folder=folder)
    assert (folder / "state").read_text() == "half"
    trained(resume, folder=folder)
    assert steps == ["new", "resumed"]
    assert list(tmp_path.iterdir()) == []


# --- what is refused -----------------------------------------------------------------------------------------------


def _nothing(network: nn.Module, run: TrainingRun) -> None:
    network(torch.zeros(2, 3))


def _another(network: nn.Module, run: TrainingRun) -> None:
    """Trains another network, and copies its weights."""
    other = build()
    with torch.no_grad():
        for mine, its in zip(network.parameters(), other.parameters(), strict=True):
            mine.copy_(its + 1)


def _in_evaluation(network: nn.Module, run: TrainingRun) -> None:
    untrained(network.eval(), run)


def _returning(value: object, network: nn.Module, run: TrainingRun) -> object:
    untrained(network, run)
    return value() if callable(value) else value


def _twice(network: nn.Module, run: TrainingRun) -> object:
    untrained(network, run)
    run.scores(test=[0.0] * 12)
    return [0.0] * 12


def _swallowed(network: nn.Module, run: TrainingRun) -> None:
    untrained(network, run)
    try:
        run.report(1, "low")  # type: ignore[arg-type]
    except ValueError:
        raise RuntimeError("the framework failed") from None


def _silenced(network: nn.Module, run: TrainingRun) -> None:
    untrained(network, run)
    try:
        run.report(1, "low")  # type: ignore[arg-type]
    except ValueError:
        return


def _reporting_nan(network: nn.Module, run: TrainingRun) -> None:
    untrained(network, run)
    run.report(1, 0.5)
    run.report(2, math.nan)


def _leaving(network: nn.Module, run: TrainingRun) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_nothing, "train must leave the network trained; its weights are as they were built"),
        (_another, "train must run the network with its dropout; no mask of it was drawn"),
        (_in_evaluation, "train must run the network with its dropout; no mask of it was drawn"),
        (partial(_returning, [0.0] * 11), "one loss for each of 12 test examples; got 11"),
        (partial(_returning, 0.5), r"one loss for each of 12 test examples; got the shape \(\)"),
        (partial(_returning, "done"), "one loss for each of 12 test examples; got str; return them, or nothing"),
        (partial(_returning, object), "got object; return them, or nothing"),
        (partial(_returning, [0.0] * 11 + [math.nan]), "of test examples must be finite numbers; that of example 11"),
        (_twice, "losses of the test examples must be given once"),
        (_swallowed, "the validation loss of run.report must be a number; got str"),
        (_silenced, "the validation loss of run.report must be a number; got str"),
        (_reporting_nan, "of run.report must be finite numbers; that of epoch 2 is nan, and the weights are finite"),
        (_leaving, "train must train every network; it raised RuntimeError: the function ended the process with"),
        (lambda network: None, "train must train every network; it raised TypeError: .*takes 1 positional argument"),
    ],
)
def test_bad_functions_are_refused_in_a_sentence(function: Callable[..., object], words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        trained(function)
    assert "\n" not in str(raised.value)


def test_what_a_function_raises_is_kept_with_its_traceback() -> None:
    def fail(network: nn.Module, run: TrainingRun) -> None:
        raise KeyError("labels")

    with pytest.raises(
        UserCodeError, match=r"^train must train every network; it raised KeyError: 'labels' at "
    ) as raised:
        trained(fail)
    assert "in fail" in raised.value.trace


@pytest.mark.parametrize("field", ["weight_decay", "learning_rate"])
def test_a_field_that_settings_differ_in_must_be_read(field: str) -> None:
    with pytest.raises(InputError, match=f"^train must use run.{field}, .*it never read it"):
        trained(untrained, needed=(field,))

    def reads(network: nn.Module, run: TrainingRun) -> None:
        getattr(run, field)
        untrained(network, run)

    trained(reads, needed=(field,))


def test_fields_are_needed_where_they_are_chosen() -> None:
    assert needed_fields([Setting(), DROPOUT], dataclasses.replace(CONFIG, learning_rate=1e-3)) == ()
    assert needed_fields([Setting(), DROPOUT], CONFIG) == ("learning_rate",)
    crossed = [Setting(learning_rate=0.1), Setting(weight_decay=0.1)]
    config = dataclasses.replace(CONFIG, learning_rate=1e-3)
    assert needed_fields(crossed, config) == ("weight_decay", "learning_rate")


def test_a_run_that_is_given_up_ends_at_the_next_report() -> None:
    class GivenUpError(BaseException):
        pass

    def give_up() -> None:
        raise GivenUpError

    with pytest.raises(GivenUpError):
        trained(alive=give_up)


@pytest.mark.parametrize("leaves", [False, True])
def test_an_interruption_that_a_framework_swallows_ends_the_study(leaves: bool) -> None:
    """Lightning makes a normal end, or SystemExit, of Ctrl-C: a network half trained must not be stored."""

    def swallow(network: nn.Module, run: TrainingRun) -> None:
        untrained(network, run)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(10_000_000):
                pass
        except KeyboardInterrupt:
            if leaves:
                raise SystemExit(1) from None

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(swallow)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
