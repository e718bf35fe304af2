"""Trains one network by a function of the user's, and makes its record."""

import hashlib
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from thinned.conversion.clock import CLOCK
from thinned.errors import InputError, sentence
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import Split
from thinned.studies.examples.examples import ExampleSet, Part
from thinned.studies.examples.generators import seed_generators, seeded_generators
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.drawn_scores import drawn_scores
from thinned.studies.training.loop.evaluation import Evaluator, Outcome, finite
from thinned.studies.training.loop.fit import make_network
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.reader import Reader
from thinned.studies.training.loop.streams import Streams
from thinned.studies.training.own_training.fields import check_fields
from thinned.studies.training.own_training.run import PartDataset, Parts, RunRecord, TrainingRun, example_losses_of
from thinned.studies.training.records import Curves, Evaluation, ExampleLosses, TrainedNetwork
from thinned.studies.user_code import user_code

__all__ = ["Apply", "OwnTraining", "fit_by_function", "train_by_function"]

#: makes the network of a setting of a network as the user builds it
Apply = Callable[[nn.Module, Setting], nn.Module]
_EVALUATE = "the study must be able to score the network that train leaves, or train calls run.scores"


class OwnTraining(NamedTuple):
    """What the training of a network by a function of the user's starts from.

    Attributes:
        functions: those of the user, ``train`` among them.
        apply: makes the network of a setting of the user's.
        examples: the examples.
        split: numbers of the examples that train, validate and test; without test examples the given test set is taken.
        config: device and sizes of the evaluation, and the learning rate of the study.
        setting: the setting.
        needed: fields of the run that the settings of the plan differ in: the function must read them.
        seed: seed of the study.
    """

    functions: NetworkFunctions
    apply: Apply
    examples: ExampleSet
    split: Split
    config: NetworkConfig
    setting: Setting
    needed: tuple[str, ...]
    seed: int

    @property
    def parts(self) -> Parts:
        """The datasets of the split."""
        examples, split = self.examples, self.split
        tested = np.arange(examples.test_count) if self.test_part == "test" else split.test
        return Parts(
            PartDataset(examples.source("train"), split.train),
            PartDataset(examples.source("eval"), split.validation),
            PartDataset(examples.source(self.test_part), tested),
        )

    @property
    def streams(self) -> Streams:
        """What everything random follows from."""
        return Streams(self.seed, self.split.repeat, self.split.fold)

    @property
    def test_part(self) -> Part:
        """Where the test examples come from."""
        return "eval" if len(self.split.test) else "test"


def train_by_function(
    training: OwnTraining, member: Member, folder: Path | None = None, alive: Callable[[], None] = lambda: None
) -> TrainedNetwork:
    """Train one network by the user's function, and record the scores of what it leaves.

    Networks of one repeat and fold share initial weights, the seed of masks, ``run.seed`` and the state of the default
    generators when the function begins; so differences between settings are paired as far as the function repeats.

    Args:
        training: what it starts from.
        member: the network's place in the plan.
        folder: the network's own, which is removed when it is finished; None makes one.
        alive: called at every report; it raises where the run was given up.

    Raises:
        UserCodeError: the function raised.
        InputError: it did not train the network, did not read a field of the run that settings differ in, or gave other
            losses than it must.
    """
    with _trained(training, folder, alive) as (network, record):
        return _recorded(training, network, record, member, training.streams)


def fit_by_function(training: OwnTraining, folder: Path, alive: Callable[[], None] = lambda: None) -> nn.Module:
    """Train one network by the user's function, and return it on its device, in evaluation mode.

    Args:
        training: what it starts from.
        folder: the network's own, which is removed when it is finished.
        alive: called at every report; it raises where the run was given up.

    Raises:
        UserCodeError: the function raised.
        InputError: it did not train the network, or did not read a field of the run that settings differ in.
    """
    with _trained(training, folder, alive) as (network, _):
        return network


@contextmanager
def _trained(
    training: OwnTraining, folder: Path | None, alive: Callable[[], None]
) -> Iterator[tuple[nn.Module, RunRecord]]:
    """Train a network; within, the default generators are those of its split."""
    streams, device = training.streams, training.config.torch_device()
    with _own_folder(folder) as place, seeded_generators(streams.weights, device):
        prepare = lambda network: training.apply(network, training.setting)  # noqa: E731
        network = make_network(training.functions, prepare, training.examples, streams, device).train()
        run = TrainingRun(
            training.parts,
            streams.own_training >> 33,
            place,
            training.setting,
            training.config.learning_rate,
            alive,
        )
        before, forwards = _digest(network), _forwards(network)
        seed_generators(streams.own_training, device)
        _call(training, network, run)
        check_fields(training.needed, run.record.fields_read)
        _check_trained(network, before, forwards)
        yield network.to(device).eval(), run.record


@contextmanager
def _own_folder(folder: Path | None) -> Iterator[Path]:
    """A network's folder, which goes when the network is finished, and stays where its training fails."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="thinned-") as temporary:
            yield Path(temporary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _call(training: OwnTraining, network: nn.Module, run: TrainingRun) -> None:
    """Call the function; what it returns are losses of the test examples."""
    train, record = training.functions.train, run.record
    if train is None:
        raise ValueError("the network is trained by a function, of which there is none")
    try:
        with _interruptions(), user_code("train must train every network"):
            losses = _without_exit(train, network, run)
    except InputError:
        if record.refused is not None:  # what a framework may have made another error of
            raise record.refused from None
        raise
    if record.refused is not None:
        raise record.refused
    if losses is not None:
        if record.test_losses is not None:
            value = "train returned some and called run.scores(test=…)"
            raise InputError(sentence("losses of the test examples must be given once", value))
        record.test_losses = example_losses_of(losses, len(run.test), "test")
    _check_finite(network, record)


def _without_exit(train: Callable[..., object], network: nn.Module, run: TrainingRun) -> object:
    try:
        return train(network, run)
    except SystemExit as error:  # it would end a worker without a word
        raise RuntimeError(f"the function ended the process with exit code {error.code}") from error


@contextmanager
def _interruptions() -> Iterator[None]:
    """Raise the Ctrl-C that a framework may have made a normal end of: a network half trained is none."""
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def note(number: int, frame: FrameType | None) -> object:
        pressed.append(number)
        return before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception:
        if pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _check_trained(network: nn.Module, before: str, forwards: int) -> None:
    """Refuse a network that was not trained, or in whose place another one was."""
    if _digest(network) == before:
        remedy = "train the network that is passed, or load the trained state into it"
        raise InputError(sentence("train must leave the network trained", "its weights are as they were built", remedy))
    if _forwards(network) == forwards:
        remedy = "train the network that is passed, in training mode: network.train()"
        raise InputError(sentence("train must run the network with its dropout", "no mask of it was drawn", remedy))


def _forwards(network: nn.Module) -> int:
    """The number of training forward passes of an addressed network."""
    clock = getattr(network, CLOCK, None)
    return int(clock) if isinstance(clock, torch.Tensor) else 0


def _digest(network: nn.Module) -> str:
    """SHA-256 of all parameters."""
    digest = hashlib.sha256()
    for parameter in network.parameters():
        digest.update(parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_finite(network: nn.Module, record: RunRecord) -> None:
    """Refuse losses that are no numbers of a network whose weights are some; others diverged, which is a result."""
    if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
        return
    given = {"validation": record.validation_losses, "test": record.test_losses}
    for part, losses in given.items():
        if losses is not None and not bool(losses.isfinite().all()):
            first = int((~losses.isfinite()).nonzero()[0])
            value = f"that of example {first} is {losses[first].item():g}, and the weights are finite"
            raise InputError(sentence(f"losses of {part} examples must be finite numbers", value))
    for epoch, loss in record.validation.items():
        if finite(loss) is None:
            value = f"that of epoch {epoch} is {loss:g}, and the weights are finite"
            raise InputError(sentence("validation losses of run.report must be finite numbers", value))


def _recorded(
    training: OwnTraining, network: nn.Module, record: RunRecord, member: Member, streams: Streams
) -> TrainedNetwork:
    """Score a trained network where its function did not, and put the record together."""
    validation, train = _validated(training, network, record, streams)
    outcome = _tested(training, network, record, streams)
    scores = outcome.scores(training.examples.task)
    losses, drawn, evaluation = None, None, Evaluation(None, None, None, scores)
    if outcome.is_finite and validation is not None:
        evaluation = Evaluation(train, validation, finite(float(outcome.losses.double().mean())), scores)
        if training.test_part == "test":
            content = outcome.losses.float().numpy().astype("<f4").tobytes()
            losses = ExampleLosses(content, content)
            drawn = drawn_scores(training.examples, outcome, outcome, training.seed)
    curve = record.curve or (validation,)
    known = [np.inf if loss is None else loss for loss in curve]
    return TrainedNetwork(
        **member._asdict(),
        best_epoch=int(np.argmin(known)) + 1,
        best=evaluation,
        end=evaluation,
        curves=Curves((), curve),
        example_losses=losses,
        drawn_scores=drawn,
    )


def _validated(
    training: OwnTraining, network: nn.Module, record: RunRecord, streams: Streams
) -> tuple[float | None, float | None]:
    """Mean loss on the validation examples, and on as many training examples; NaN where only the function can score."""
    if record.validation_losses is not None:
        return finite(float(record.validation_losses.mean())), float("nan")
    evaluator = _evaluator(training, streams)
    validation, train = (torch.from_numpy(rows) for rows in (training.split.validation, training.split.train))
    with user_code(_EVALUATE):
        mean = evaluator.mean_loss(network, validation)
        return mean, evaluator.mean_loss(network, train[: len(validation)])


def _tested(training: OwnTraining, network: nn.Module, record: RunRecord, streams: Streams) -> Outcome:
    if record.test_losses is not None:
        return Outcome(record.test_losses, None, None)
    count = len(training.parts.test)
    rows = torch.arange(count) if training.test_part == "test" else torch.from_numpy(training.split.test)
    with user_code(_EVALUATE):
        return _evaluator(training, streams).outcome(network, training.test_part, rows, with_outputs=True)


def _evaluator(training: OwnTraining, streams: Streams) -> Evaluator:
    config, examples = training.config, training.examples
    device = config.torch_device()
    return Evaluator(
        Reader(examples, device, config.loader_workers),
        examples.task,
        training.functions.score,
        config.batch_size,
        "float32",
        device,
        streams.evaluation,
    )
