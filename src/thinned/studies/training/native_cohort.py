"""Cohorts of the study's own network, trained by the compiled extension: each member by itself, as fast as a core is.

The extension's source is in ``csrc/``. :func:`thinned.studies.training.cohort.train` is the oracle, and trains what
:func:`torch_reason` names.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait

import numpy as np
import torch
from torch import nn

from thinned import _native, schedules
from thinned.kernels import native
from thinned.kernels.address import thresholds
from thinned.studies.cores import one_core
from thinned.studies.design.arms import TECHNIQUES
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.training.cohort import Cohort, Data, Outcome, Stack, train_cohort
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.network import MLP, Hidden
from thinned.studies.training.records import Probes

__all__ = ["torch_reason", "train", "trains_networks"]

#: products of a row with a weight in one call of the extension, some tenths of a second: an interrupt waits for its end
_PRODUCTS_AT_ONCE = 3 * 10**9
_PULSE = 0.2  # seconds between two calls of `progress` within an epoch, or while threads train


def trains_networks(network: str | None) -> bool:
    """True where the extension trains a table's networks: the study's own, with the few exceptions of torch_reason.

    Args:
        network: "module:function" of the user's network, or None.
    """
    return network is None and native.trains()


def torch_reason(cohort: Cohort) -> str | None:
    """Why torch must train a cohort, in words; None where the extension can."""
    network, rows = cohort.networks[0], cohort.rows.data[0]
    if type(network) is not MLP:
        return "the network is the user's own"
    own_loss = any(TECHNIQUES[name].training_loss for setting in cohort.settings for name, _ in setting.extras)
    one_row = min(cohort.config.batch_size, len(rows.train)) < 2
    reasons = {
        "the extension was built by a compiler without vector extensions": not native.trains(),
        "the network has no hidden layer": not len(network.hidden),
        "a technique has a loss of its own": own_loss,
        "a dropout site drops everything": any(bool((rate >= 1).any()) for rate in cohort.stack.rates.values()),
        "batch norm needs two rows": cohort.settings[0].batch_norm is not None and one_row,
        "numbers are neither float32 nor float64 throughout": rows.x.dtype not in (torch.float32, torch.float64)
        or rows.x.dtype != network.output.weight.dtype,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


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
    """Train one network for each member, by the extension where it can.

    The arguments are those of :func:`thinned.studies.training.cohort.train`, whose results these are but for the
    rounding of sums. A member's numbers depend neither on other members nor on the number of threads, which is
    torch's. On one thread ``progress`` is called within a long epoch, too, and ends the training by raising.
    """
    cohort = Cohort.of(config, build, members, data, training_curve=training_curve)
    if torch_reason(cohort) is not None:
        with one_core():  # the last bits of its matrix products depend on the number of cores
            return train_cohort(cohort, progress, probe)
    return _train(cohort, progress, probe)


class _Training:
    """One member in training.

    Attributes:
        split: the number of its split.
        losses: training and validation loss of each epoch.
        best_epoch: 0-based epoch of the least validation loss.
    """

    def __init__(self, cohort: Cohort, member: int, table: "_native.TableF32 | _native.TableF64") -> None:
        self._cohort, self._member, self._table = cohort, member, table
        self.split = int(cohort.rows.split_index[member])
        network, config, setting = cohort.stack.base, cohort.config, cohort.settings[member]
        assert isinstance(network, MLP)  # noqa: S101 - as torch_reason found
        self._sites = list(schedules.dropout_layers(network))
        hidden = [layer for layer in network.hidden if isinstance(layer, Hidden)]
        kept = torch.tensor(1 - config.learning_rate * setting.weight_decay)  # rounded, as torch multiplies by it
        keys = [int(cohort.stack.keys[s][member]) % 2**64 if s in cohort.stack.keys else 0 for s in self._sites]
        self._dtype = network.output.weight.dtype
        make = _native.TrainerF32 if self._dtype == torch.float32 else _native.TrainerF64
        self._trainer = make(
            inputs=hidden[0].linear.in_features,
            hidden=[layer.linear.out_features for layer in hidden],
            outputs=network.output.out_features,
            batch=min(config.batch_size, len(cohort.rows.data[0].train)),
            loss=_native.Loss.squared if config.task == "regression" else getattr(_native.Loss, config.task),
            norm=getattr(_native.Norm, setting.batch_norm or "none"),
            shared=setting.one_mask,
            learning_rate=config.learning_rate,
            kept=float(kept) if setting.weight_decay else 1.0,
            limit=setting.max_norm or 0.0,
            keys=keys,
        )
        self._trainer.set_parameters([value.numpy() for value in self._tensors()])
        self._at_once = max(1, _PRODUCTS_AT_ONCE // sum(value.numel() for value in self._tensors()))
        self.losses: list[tuple[np.float32, np.float32]] = []
        self.best_epoch, self._least = 0, np.float32(np.inf)

    def _tensors(self) -> list[torch.Tensor]:
        """This member's part of the stack, in the extension's order; in-place changes are seen by the stack."""
        return [self._cohort.stack.learned[name].detach()[self._member] for name in _tensor_names(self._cohort.stack)]

    def _set_keep(self) -> None:
        rates = self._cohort.stack.rates
        keep = [int(thresholds(rates[s][self._member])) if s in rates else 65536 for s in self._sites]
        self._trainer.set_keep(keep)

    @property
    def is_over(self) -> bool:
        """Whether its budget or its patience has ended."""
        config, epochs = self._cohort.config, len(self.losses)
        return epochs == config.epochs or (
            config.patience is not None and epochs - 1 - self.best_epoch >= config.patience
        )

    def epoch(self, order: torch.Tensor, check: Callable[[], None]) -> None:
        """Train for an epoch and evaluate; ``check`` is called a few times a second, and ends it by raising."""
        if not self.losses or self._cohort.settings[self._member].schedule != "constant":
            self._cohort.set_rates(len(self.losses), self._member)
            self._set_keep()
        batch = min(self._cohort.config.batch_size, len(order))
        for part in torch.split(order, max(self._at_once // batch, 1) * batch):
            check()
            self._trainer.train(self._table, part.numpy())  # type: ignore[arg-type]
        training = self._loss(self._cohort.training[self.split], check)
        validation = self._loss(self._cohort.validation[self.split], check)
        if validation < self._least:
            self._least, self.best_epoch = validation, len(self.losses)
            self._trainer.keep_best()
        self.losses.append((training, validation))

    def _loss(self, rows: torch.Tensor, check: Callable[[], None]) -> np.float32:
        if not len(rows):
            return np.float32(np.nan)
        total = 0.0
        for part in torch.split(rows, self._at_once):
            check()
            total += self._trainer.loss(self._table, part.numpy()) * len(part)  # type: ignore[arg-type]
        with np.errstate(over="ignore"):  # it diverged
            return np.float32(total / len(rows))

    def outputs(self) -> torch.Tensor:
        """Outputs on the test rows, ``(rows, outputs)``."""
        rows = self._cohort.test[self.split]
        network = self._cohort.stack.base
        assert isinstance(network, MLP)  # noqa: S101 - as torch_reason found
        out = torch.empty(len(rows), network.output.out_features, dtype=self._dtype)
        for part, filled in zip(torch.split(rows, self._at_once), torch.split(out, self._at_once), strict=True):
            self._trainer.outputs(self._table, part.numpy(), filled.numpy())  # type: ignore[arg-type]
        return out

    def restore_best(self) -> None:
        """Go back to the best epoch, and give the stack its weights."""
        self._trainer.restore_best()
        self._trainer.parameters([value.numpy() for value in self._tensors()])


def _train(
    cohort: Cohort, progress: Callable[[int], None], probe: Callable[[Stack], Sequence[Probes]] | None
) -> list[Outcome]:
    tables = [_table(cohort, data) for data in cohort.rows.data]
    networks = [_Training(cohort, m, tables[split]) for m, split in enumerate(cohort.rows.split_index.tolist())]
    threads = min(torch.get_num_threads(), len(networks))
    if threads > 1:
        _train_in_threads(cohort, networks, threads, progress)
    else:
        _train_in_turn(cohort, networks, progress)
    training = len(cohort.rows.data[0].train)
    steps = training // min(cohort.config.batch_size, training)
    cohort.stack.clock += steps * max(len(network.losses) for network in networks)
    at_end = [network.outputs() for network in networks]
    for network in networks:
        network.restore_best()
    cohort.stack.base.eval()
    probes = [Probes() for _ in networks] if probe is None else probe(cohort.stack)
    learned = cohort.stack.learned
    return [
        Outcome(
            train_loss=np.array(network.losses, dtype=np.float32)[:, 0],
            validation_loss=np.array(network.losses, dtype=np.float32)[:, 1],
            best_epoch=network.best_epoch,
            at_best=network.outputs(),
            at_end=at_end[m],
            weights={name: value.detach()[m].clone() for name, value in learned.items()},
            probes=probes[m],
        )
        for m, network in enumerate(networks)
    ]


def _train_in_turn(cohort: Cohort, networks: Sequence[_Training], progress: Callable[[int], None]) -> None:
    """Train in the caller's thread, where an interrupt comes soon; networks of one split share its orders."""
    pulse = time.monotonic()
    for epoch in range(cohort.config.epochs):

        def check(epoch: int = epoch) -> None:
            nonlocal pulse
            if time.monotonic() - pulse >= _PULSE:
                pulse = time.monotonic()
                progress(epoch)

        training = [network for network in networks if not network.is_over]
        if not training:
            break
        orders = {split: cohort.order(epoch, split) for split in dict.fromkeys(network.split for network in training)}
        for network in training:
            network.epoch(orders[network.split], check)
        progress(epoch + 1)


def _train_in_threads(
    cohort: Cohort, networks: Sequence[_Training], threads: int, progress: Callable[[int], None]
) -> None:
    """Train so many networks at a time, an epoch of each in turn; ``progress`` is told the mean of their epochs."""
    stopped, budget = threading.Event(), cohort.config.epochs
    waiting = deque(networks)

    def check() -> None:
        if stopped.is_set():
            raise CancelledError

    def work() -> None:
        while waiting:
            try:
                network = waiting.popleft()
            except IndexError:  # the other threads have the rest
                return
            network.epoch(cohort.order(len(network.losses), network.split), check)
            if not network.is_over:
                waiting.append(network)

    with ThreadPoolExecutor(threads) as pool:
        working = {pool.submit(work) for _ in range(threads)}
        try:
            while working:
                done, working = wait(working, _PULSE, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                progress(sum(budget if n.is_over else len(n.losses) for n in networks) // len(networks))
        finally:
            stopped.set()


def _table(cohort: Cohort, data: Data) -> "_native.TableF32 | _native.TableF64":
    x = data.x.contiguous()
    y, network = data.y.to(x.dtype).contiguous(), cohort.networks[0]
    assert isinstance(network, MLP)  # noqa: S101 - as torch_reason found
    codes = {"binary": 2, "multiclass": network.output.out_features}.get(cohort.config.task, 0)
    if x.dtype == torch.float32:
        return _native.TableF32(x.numpy(), y.numpy(), codes)
    return _native.TableF64(x.numpy(), y.numpy(), codes)


def _tensor_names(stack: Stack) -> list[str]:
    """The names of a member's tensors in the extension's order; see csrc/cohort_trainer.h."""
    network = stack.base
    assert isinstance(network, MLP)  # noqa: S101 - as torch_reason found
    of_layer = ("linear.weight", "linear.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    names = [f"hidden.{number}.{name}" for number in range(len(network.hidden)) for name in of_layer]
    return [name for name in (*names, "output.weight", "output.bias") if name in stack.learned]
