"""Networks of one shape, trained together as one batched program."""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from thinned import philox, schedules
from thinned.studies.design.arms import TECHNIQUES
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.design.streams import stream, stream_key
from thinned.studies.examples.generators import seeded_generators
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.kept_weights import KeptWeights
from thinned.studies.training.network import site_rates
from thinned.studies.training.optimizer import AdamW
from thinned.studies.training.records import Probes

__all__ = ["Cohort", "Data", "Outcome", "Rows", "Stack", "losses", "train", "train_cohort"]

_CHUNK = 4096  # rows of a member evaluated at once: bounds memory and changes no number


class Data(NamedTuple):
    """The encoded table of one split.

    ``x`` is float32 ``(rows, columns)``, ``y`` is ``(rows,)``: int64 class codes, or standardised float32. The row
    numbers are int64.
    """

    x: torch.Tensor
    y: torch.Tensor
    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The numbers of columns, training, validation and test rows, which all members of a cohort share."""
        return self.x.shape[1], len(self.train), len(self.validation), len(self.test)


class Outcome(NamedTuple):
    """The result of training one member.

    Attributes:
        train_loss: per epoch, dropout off, on as many training rows as there are validation rows; NaN where the cohort
            leaves it out.
        validation_loss: per epoch, dropout off; of fewer epochs than the budget where patience ended.
        best_epoch: 0-based epoch of the least validation loss.
        at_best: output on the test rows with the weights of that epoch, ``(rows, outputs)``.
        at_end: output on the test rows after the last epoch, ``(rows, outputs)``.
        weights: parameters and running statistics by name, of the best epoch.
        probes: measurements inside the network of the best epoch.
    """

    train_loss: npt.NDArray[np.float32]
    validation_loss: npt.NDArray[np.float32]
    best_epoch: int
    at_best: torch.Tensor
    at_end: torch.Tensor
    weights: dict[str, torch.Tensor]
    probes: Probes


def losses(task: str, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Loss of each row: cross-entropy in nats, or squared error.

    Args:
        task: "binary", "multiclass" or "regression".
        output: ``(..., rows, outputs)`` logits, or the standardised value.
        y: ``(..., rows)``.

    Returns:
        ``(..., rows)``.
    """
    if task == "multiclass":
        return F.cross_entropy(output.movedim(-1, 1), y, reduction="none")
    if task == "binary":
        return F.binary_cross_entropy_with_logits(output.squeeze(-1), y.to(output.dtype), reduction="none")
    return (output.squeeze(-1) - y) ** 2


class Stack:
    """Several modules of one structure as one: parameters stacked along a leading axis, called as one program.

    A module whose ``stacks`` attribute is true computes with stacked parameters itself; any other goes through
    ``torch.func.vmap``. Its dropout sites get an address and a rate for each member.

    Args:
        networks: modules of one structure, one for each member.
        rates: dropout rates of each member, by qualified name of the site.
        seed: seed of all masks. The number of a site folded into it is the site's key; the number of a member folded
            into that is the member's key.
        members: number of each member.

    Attributes:
        base: the module that is called; its training flag is that of all members.
        parameters: by qualified name, each with a leading axis of members.
        buffers: running statistics by qualified name, each with a leading axis of members.
        clock: number of the training step, 0-dim int64.
        rates: dropout rates of each site where a member drops, by its name, float64 ``(members,)``.
        keys: the key of each member at these sites, int64 ``(members,)``.
    """

    def __init__(
        self, networks: Sequence[nn.Module], rates: Sequence[Mapping[str, float]], seed: int, members: Sequence[int]
    ) -> None:
        self.base = copy.deepcopy(networks[0])
        stacked, self.buffers = torch.func.stack_module_state(list(networks))
        self.parameters = {
            name: nn.Parameter(value.detach().contiguous(), requires_grad=value.requires_grad)
            for name, value in stacked.items()
        }
        self.clock = torch.zeros((), dtype=torch.int64)
        self.rates: dict[str, torch.Tensor] = {}
        self.keys: dict[str, torch.Tensor] = {}
        self._idle: list[nn.Module] = []
        self._native = bool(getattr(self.base, "stacks", False))
        self._addresses: dict[str, torch.Tensor] = {}
        for name, site in schedules.dropout_layers(self.base).items():
            if not any(member[name] for member in rates):
                self._idle.append(site)
                continue
            key = philox.fold_in(seed, philox.site_number(name))
            self.rates[name] = torch.tensor([member[name] for member in rates], dtype=torch.float64)
            self.keys[name] = torch.from_numpy(philox.fold_in_each(key, members).view(np.int64))
            self._addresses |= {f"{name}.key": self.keys[name], f"{name}.rate": self.rates[name]}
            site.call = self.clock
            # to be replaced member by member; tensors of their own, since functional_call ties equal ones
            site.key, site.rate = torch.zeros_like(self.clock), torch.zeros((), dtype=torch.float64)
        self._state = self.parameters | self.buffers | self._addresses
        if self._native:
            _assign(self.base, self._state)

    @property
    def learned(self) -> dict[str, torch.Tensor]:
        """Parameters and running statistics by qualified name."""
        return self.parameters | self.buffers

    def train(self) -> None:
        """Put the base in training mode, except for dropout sites where no member drops."""
        self.base.train()
        for site in self._idle:
            site.eval()

    def some(self, members: Sequence[int]) -> nn.Module:
        """A copy of some members as a module in evaluation mode; the base must compute with stacked parameters."""
        network = copy.deepcopy(self.base).eval().requires_grad_(False)
        chosen = {name: value.detach()[members] for name, value in self._state.items()}
        parameters = {name: nn.Parameter(chosen[name], requires_grad=False) for name in self.parameters}
        _assign(network, chosen | parameters)
        return network

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``(members, rows, inputs)`` to ``(members, rows, outputs)``."""
        if self._native:
            return self.base(x)  # type: ignore[no-any-return]
        member = lambda state, rows: torch.func.functional_call(self.base, state, (rows,))  # noqa: E731
        return torch.func.vmap(member)(self._state, x)  # type: ignore[no-any-return]


def _assign(module: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    for name, value in values.items():
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, value)


class Rows:
    """The rows of several splits in one tensor, to be gathered for each member.

    Members of one repeat and fold train on the same rows in the same order: they are gathered once and shared.

    Attributes:
        splits: (repeat, fold) of each distinct split.
        data: the data of each of them.
        split_index: the number of each member's split.
    """

    def __init__(self, members: Sequence[Member], data: Sequence[Data]) -> None:
        by_split = {(m.repeat, m.fold): d for m, d in zip(members, data, strict=True)}
        self.splits, self.data = list(by_split), list(by_split.values())
        self.split_index = torch.tensor([self.splits.index((m.repeat, m.fold)) for m in members])
        tables = list({id(d.x): d for d in self.data}.values())  # of one encoding, though the rows may be split anew
        starts = itertools.accumulate((len(d.y) for d in tables), initial=0)
        start = {id(d.x): number for d, number in zip(tables, starts, strict=False)}
        self._start = torch.tensor([start[id(d.x)] for d in self.data])[:, None]
        self._tables = tables

    @cached_property
    def _all(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All tables in one, made where torch gathers from it: the extension reads each where it lies."""
        if len(self._tables) == 1:
            return self._tables[0].x, self._tables[0].y
        return torch.cat([d.x for d in self._tables]), torch.cat([d.y for d in self._tables])

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From row numbers within each split, ``(splits, n)``, to each member's ``x`` and ``y``."""
        index = (rows + self._start).reshape(-1)
        x, y = (part.index_select(0, index) for part in self._all)
        by_member = self.split_index
        return x.view(*rows.shape, x.shape[1]).index_select(0, by_member), y.view(rows.shape).index_select(0, by_member)

    def chunks(self, rows: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The same, a part of the rows at a time."""
        for part in torch.split(rows, _CHUNK, dim=1):
            yield self.batch(part)


class Cohort(NamedTuple):
    """A cohort before its training.

    Attributes:
        config: budget, settings and seed.
        settings: the setting of each member.
        networks: each member's network with its initial weights.
        stack: the same networks as one, with the addresses of their masks.
        rows: the rows of their splits.
        training: the training rows of each split on which the loss is evaluated, ``(splits, n)``; maybe none.
        validation: the validation rows of each split.
        test: the test rows of each split.
        order_keys: the keys of each split's order of rows, one for each epoch.
    """

    config: TrainingConfig
    settings: list[Setting]
    networks: list[nn.Module]
    stack: Stack
    rows: Rows
    training: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    order_keys: list[philox.Words]

    @classmethod
    def of(
        cls,
        config: TrainingConfig,
        build: Callable[[Setting], nn.Module],
        members: Sequence[Member],
        data: Sequence[Data],
        *,
        training_curve: bool = True,
    ) -> "Cohort":
        """The cohort that :func:`train` trains with these arguments."""
        settings = [config.settings[member.setting] for member in members]
        networks = [_initialised(config.seed, build, member, s) for member, s in zip(members, settings, strict=True)]
        rates = [site_rates(network, setting) for network, setting in zip(networks, settings, strict=True)]
        masks = [member.repeat * config.folds + member.fold for member in members]
        stack = Stack(networks, rates, stream_key(config.seed, "mask"), masks)
        rows = Rows(members, data)
        training = torch.stack([d.train[: training_curve * len(d.validation)] for d in rows.data])
        validation, test = (torch.stack([getattr(d, part) for d in rows.data]) for part in ("validation", "test"))
        epochs = np.arange(config.epochs)
        keys = [philox.fold_in_each(stream_key(config.seed, "order", *split), epochs) for split in rows.splits]
        return cls(config, settings, networks, stack, rows, training, validation, test, keys)

    def set_rates(self, epoch: int, member: int) -> None:
        """Set the rates that a member with a schedule has in this epoch."""
        setting = self.settings[member]
        if setting.schedule != "constant":
            at_epoch = site_rates(self.networks[member], setting.at_epoch(epoch, self.config.epochs))
            for name in self.stack.rates.keys() & at_epoch.keys():
                self.stack.rates[name][member] = at_epoch[name]

    def order(self, epoch: int, split: int) -> torch.Tensor:
        """The training rows of a split in this epoch's order, whole batches only: ``(steps · batch,)``."""
        train = self.rows.data[split].train  # by time, the first windows may hold less than a batch
        kept = len(train) - len(train) % min(self.config.batch_size, len(train))
        return train[torch.from_numpy(stream(int(self.order_keys[split][epoch])).permutation(len(train))[:kept])]


def train(
    config: TrainingConfig,
    build: Callable[[Setting], nn.Module],
    members: Sequence[Member],
    data: Sequence[Data],
    progress: Callable[[int], None] = lambda epoch: None,
    probe: Callable[[Stack], Sequence[Probes]] | None = None,
    *,
    training_curve: bool = True,
) -> list[Outcome]:
    """Train one network for each member, all in one batched program of torch.

    Members of one repeat and fold share their initial weights, data order and mask key (a higher rate drops what a
    lower one drops, and more), so that differences between settings are paired. A member's weights depend neither
    on the other members nor on their number, except for the rounding of batched matrix products.

    Args:
        config: budget, settings and seed.
        build: makes a freshly initialised network for a setting, from torch's default generator; the settings of all
            members have one structure.
        members: the networks to train.
        data: the split of each member, all of one shape.
        progress: called with the number of finished epochs.
        probe: measures inside the trained networks, with the weights of their best epochs.
        training_curve: evaluate the training loss of each epoch, which no weight depends on.
    """
    return train_cohort(Cohort.of(config, build, members, data, training_curve=training_curve), progress, probe)


def train_cohort(
    cohort: Cohort, progress: Callable[[int], None], probe: Callable[[Stack], Sequence[Probes]] | None
) -> list[Outcome]:
    """Train a cohort; see :func:`train`."""
    config, settings, stack, rows = cohort.config, cohort.settings, cohort.stack, cohort.rows
    optimizer = AdamW(stack, settings, config.learning_rate)
    kept = KeptWeights(stack.learned, len(settings), config.patience)
    curves: list[tuple[torch.Tensor, ...]] = []
    for epoch in range(config.epochs):
        stack.train()
        for m in range(len(settings)):
            cohort.set_rates(epoch, m)
        orders = torch.stack([cohort.order(epoch, split) for split in range(len(rows.data))])
        for batch in torch.split(orders, config.batch_size, dim=1):
            x, y = rows.batch(batch)
            _training_losses(config.task, settings, stack(x), y).mean(1).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            stack.clock += 1
        stack.base.eval()
        curves.append(tuple(_mean_loss(config.task, stack, rows, i) for i in (cohort.training, cohort.validation)))
        kept.update(epoch, curves[-1][1])
        progress(epoch + 1)
        if kept.all_over:
            break
    kept.restore_last()
    at_end = _outputs(stack, rows, cohort.test)
    kept.restore_best()
    probes = [Probes() for _ in settings] if probe is None else probe(stack)
    at_best = _outputs(stack, rows, cohort.test)
    train_curve, validation_curve = (torch.stack(curve, dim=1).numpy() for curve in zip(*curves, strict=True))
    return [
        Outcome(
            train_loss=train_curve[m, : kept.epochs[m]],
            validation_loss=validation_curve[m, : kept.epochs[m]],
            best_epoch=int(kept.best_epochs[m]),
            at_best=at_best[m],
            at_end=at_end[m],
            weights=kept.best(m),
            probes=probes[m],
        )
        for m in range(len(settings))
    ]


def _training_losses(task: str, settings: Sequence[Setting], output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Loss of each row in training, ``(members, rows)``: :func:`losses`, or that of a setting's technique."""
    by_row = losses(task, output, y)
    changed: dict[int, torch.Tensor] = {}
    for m, setting in enumerate(settings):
        for name, amount in setting.extras:
            loss = TECHNIQUES[name].training_loss
            if loss is not None:
                changed[m] = loss(amount, task, output[m], y[m])
    return torch.stack([changed.get(m, by_row[m]) for m in range(len(settings))]) if changed else by_row


def _initialised(seed: int, build: Callable[[Setting], nn.Module], member: Member, setting: Setting) -> nn.Module:
    with seeded_generators(stream_key(seed, "init", member.repeat, member.fold)):
        return build(setting)


@torch.inference_mode()
def _mean_loss(task: str, stack: Stack, rows: Rows, index: torch.Tensor) -> torch.Tensor:
    total = sum(losses(task, stack(x), y).sum(1, dtype=torch.float64) for x, y in rows.chunks(index))
    return (total / index.shape[1]).float()  # type: ignore[union-attr]


@torch.inference_mode()
def _outputs(stack: Stack, rows: Rows, index: torch.Tensor) -> torch.Tensor:
    return torch.cat([stack(x) for x, _ in rows.chunks(index)], dim=1)
