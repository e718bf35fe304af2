"""The options of a study of a network of one's own, checked before anything is built."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypedDict

import numpy.typing as npt
import torch

from thinned.errors import InputError, sentence
from thinned.studies.design.arm import Arm
from thinned.studies.examples.sources import Collate
from thinned.studies.examples.targets import ExampleTask

__all__ = ["NetworkKeywords", "NetworkOptions"]

Loss = Callable[..., torch.Tensor]
Sampler = Callable[[torch.Tensor], Iterable[int]]
Train = Callable[..., object]
#: a value for each example, a function that returns them, or the path of either
Values = str | npt.ArrayLike | Callable[[], object]
#: of the training set, and of the test set where one is given
Groups = Values | tuple[npt.ArrayLike, npt.ArrayLike | None]
#: options of the study's own training, which a training function of the user's replaces
_OUR_TRAINING = (
    *("epochs", "batch_size", "optimizer", "momentum", "schedule", "patience", "clip", "precision"),
    *("loss", "sampler"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The options of :func:`thinned.study` with examples and a network of one's own.

    A function, or what a function returns, may be given by its path "module:name".

    Attributes:
        task: "binary", "multiclass", "regression", "multilabel" (0/1 for each label), "tokens" (a class for each token
            or pixel) or "other"; None infers it from the targets.
        arms: names of arms, such as "dropout", "weight_decay" or "without_attention_weights", and :class:`thinned.Arm`
            objects; None takes all that the network's dropout sites allow. No dropout is always included.
        rates: dropout rates of the arm "dropout", in [0, 1); None takes a grid, or scales the network's own rates.
        learning_rates: every setting is tried at each of these; empty takes ``learning_rate`` alone.
        design: "confirm" chooses each arm's setting on one half of the examples and compares the chosen ones on test
            folds of the other half; "nested" trains every setting on every split.
        folds: number of test folds; without meaning where a test set is given.
        seeds: number of repeats; None takes 2, or 10 where a test set is given.
        epochs: training budget; None chooses it by the number of examples.
        batch_size: examples of a step; None chooses it by the number of examples.
        learning_rate: learning rate of the first step.
        optimizer: "adamw" or "sgd".
        momentum: momentum of "sgd".
        schedule: "constant", or "cosine" from the learning rate to 0.
        patience: training stops after so many epochs without a lower validation loss; None trains the whole budget.
        clip: largest norm of all gradients together; None sets no limit.
        precision: "float32" or "bfloat16" (mixed precision).
        device: "cpu", "cuda", "mps" or another of torch's; None takes the accelerator if there is one.
        loader_workers: processes that read a dataset that is not held in memory.
        seed: the number from which everything random follows.
        groups: ``(examples,)`` a name or number for each example, such as its speaker; those of a group stay together.
            Where a test set is given, a pair of those of the training set and of the test set, or None in its place
            where test examples are independent. Or a function that returns them.
        time: ``(examples,)`` a number or date for each example; networks train on older examples than they are tested
            on. Or a function that returns them.
        collate_fn: makes ``(x, y)`` of a list of items, as that of ``torch.utils.data.DataLoader``.
        loss: takes the network's output and the targets of a batch and returns the loss that training lowers; None
            takes that of the task.
        score: takes the same and returns a number for each example, lower is better, which decides; None takes the loss
            of the task.
        sampler: takes the targets of the training examples once an epoch and returns the positions to train on.
        train: a function ``train(network, run)``, or its path "module:function", that trains a network in place of the
            study and leaves it as one would deploy it; ``run`` is a :class:`thinned.TrainingRun`. The options of the
            study's own training have no meaning then.
        insert: put dropout into the network with :func:`thinned.insert_dropout`: True, or its argument ``where``. A
            network without dropout gets it in any case.
        data_version: a name that is changed when the data change.
        minutes: the design is made smaller until it is expected to take no longer. The folder keeps it: a later call
            continues the same design.

    Raises:
        InputError: no study can be made with an option.
    """

    task: ExampleTask | None = None
    arms: Sequence[str | Arm] | None = None
    rates: Sequence[float] | None = None
    learning_rates: Sequence[float] = ()
    design: Literal["confirm", "nested"] = "confirm"
    folds: int = 5
    seeds: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float = 1e-3
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    schedule: Literal["constant", "cosine"] = "constant"
    patience: int | None = None
    clip: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str | None = None
    loader_workers: int = 0
    seed: int = 0
    groups: Groups | None = None
    time: Values | None = None
    collate_fn: str | Collate | None = None
    loss: str | Loss | None = None
    score: str | Loss | None = None
    sampler: str | Sampler | None = None
    train: str | Train | None = None
    insert: bool | str | Sequence[str] = False
    data_version: str | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Refuse options that no plan can be made of."""
        if self.design not in ("confirm", "nested"):
            raise InputError(sentence("design must be 'confirm' or 'nested'", f"got {self.design!r}"))
        for name, least in (("folds", 2), ("seeds", 1), ("seed", 0)):
            value = getattr(self, name)
            if not (name == "seeds" and value is None) and (type(value) is not int or value < least):
                raise InputError(sentence(f"{name} must be a whole number of at least {least}", f"got {value!r}"))
        for name, values in (("rates", self.rates), ("learning_rates", self.learning_rates)):
            if values is not None and not all(isinstance(value, int | float) and 0 <= value < 1 for value in values):
                raise InputError(sentence(f"{name} must be numbers in [0, 1)", f"got {values!r}"))
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise InputError(sentence("minutes must be a number above 0", f"got {self.minutes!r}"))
        if self.minutes is not None and self.design == "nested":
            remedy = "leave minutes out, or take design='confirm'"
            raise InputError(sentence("a time limit needs design='confirm'", "got minutes and design='nested'", remedy))
        if self.train is not None:
            self._check_own_training()

    def _check_own_training(self) -> None:
        for field in dataclasses.fields(self):
            if field.name in _OUR_TRAINING and getattr(self, field.name) != field.default:
                requirement = f"{field.name} is an option of the study's own training"
                raise InputError(sentence(requirement, "got train as well", f"set {field.name} within that function"))


class NetworkKeywords(TypedDict, total=False):
    """The fields of :class:`NetworkOptions` as keyword arguments."""

    task: ExampleTask | None
    arms: Sequence[str | Arm] | None
    rates: Sequence[float] | None
    learning_rates: Sequence[float]
    design: Literal["confirm", "nested"]
    folds: int
    seeds: int | None
    epochs: int | None
    batch_size: int | None
    learning_rate: float
    optimizer: Literal["adamw", "sgd"]
    momentum: float
    schedule: Literal["constant", "cosine"]
    patience: int | None
    clip: float | None
    precision: Literal["float32", "bfloat16"]
    device: str | None
    loader_workers: int
    seed: int
    groups: Groups | None
    time: Values | None
    collate_fn: str | Collate | None
    loss: str | Loss | None
    score: str | Loss | None
    sampler: str | Sampler | None
    train: str | Train | None
    insert: bool | str | Sequence[str]
    data_version: str | None
    minutes: float | None
