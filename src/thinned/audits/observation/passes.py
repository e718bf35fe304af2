"""Run a model several times from the same state, and leave everything as it was."""

import random
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map

from thinned.audits.observation.recorder import AuditRecorder
from thinned.audits.observation.restore_parameters import RestoreParameters
from thinned.tracing.eager_stance import eager_stance
from thinned.tracing.forward_arguments import copied_arguments
from thinned.tracing.modules import is_thinned, named
from thinned.tracing.preserve import untouched
from thinned.tracing.recorder import unrouted
from thinned.tracing.tensor_map import output_tensors, tensors

__all__ = ["Passes", "one_at_a_time", "restored_generators"]

Hook = Callable[[nn.Module, tuple[object, ...], object], None]

#: types of most attributes
_NO_GENERATORS = frozenset([type(None), bool, int, float, str, dict, OrderedDict, set, list, tuple, torch.Size])
_SEED = 20120703  # of the passes: no seed that anybody's forward would set
#: torch's default generator, numpy's and the warning filters are one for the whole process
one_at_a_time = threading.RLock()


class Passes:
    """Passes of one model on one input: the same state at the start of each, other random numbers in each.

    Attributes:
        model: the model.
        modules: its modules, by name.
        measure: False on meta tensors, which have no values.
    """

    def __init__(self, model: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        self.model = model
        self.modules = dict(named(model))
        self._args, self._kwargs = args, dict(kwargs)
        self._gradients = False
        self.measure = not any(tensor.is_meta for tensor in [*model.parameters(), *tensors((args, self._kwargs))])

    @contextmanager
    def mode(self, training: bool, seed: int) -> Iterator[None]:
        """Within, the model is in this mode and all random generators start from ``seed``."""
        with (
            untouched(self.model),
            unrouted(),
            warnings.catch_warnings(),
            torch.set_grad_enabled(self._gradients),
        ):
            warnings.simplefilter("ignore")  # the model's own, which its user sees when it runs
            self.model.train(training)
            _seed_all_generators(_SEED + seed)
            yield

    def first_recorded(self, training: bool, seed: int) -> AuditRecorder:
        """As :meth:`recorded`, and find out whether this forward needs gradients, as one that returns forces does.

        A training pass builds a graph of gradients, which tells what is trained, and keeps no values for it.
        """
        if training and not self._gradients:
            try:
                with torch.autograd.graph.saved_tensors_hooks(_forget, _refuse):
                    return self.recorded(training, seed, gradients=True)
            except Exception:  # noqa: BLE001, S110 - it may need values, as of a backward pass within
                pass
        try:
            return self.recorded(training, seed)
        except RuntimeError:
            if self._gradients:
                raise
            self._gradients = True
        return self.recorded(training, seed)

    def recorded(
        self,
        training: bool,
        seed: int,
        *,
        without_dropout: bool = False,
        find_masks: bool = False,
        one_more_of: int | None = None,
        gradients: bool = False,
    ) -> AuditRecorder:
        """Run the model and record the pass.

        Args:
            training: mode.
            seed: number that the pass's random seed is made from.
            without_dropout: let no dropout drop.
            find_masks: record masks that the model applies by itself.
            one_more_of: repeat the first row of each input that has this many rows.
            gradients: build the graph of gradients.
        """
        with self.mode(training, seed), torch.set_grad_enabled(gradients or self._gradients):
            recorder = AuditRecorder(
                self.model,
                self.modules,
                follow_data=training and not without_dropout,
                measure=self.measure,
                without_dropout=without_dropout,
                find_masks=find_masks and self.measure,
            )
            if without_dropout:
                for module in self.model.modules():
                    if is_thinned(module):
                        module.train(False)
            args, kwargs = copied_arguments((self._args, self._kwargs))
            if one_more_of is not None:
                args, kwargs = tree_map(partial(_with_another_row, rows=one_more_of), (args, kwargs))
            recorder.run(args, kwargs)
        return recorder

    def evaluated(self, seed: int, hook: Hook | None = None) -> list[torch.Tensor]:
        """Run an evaluation without a recorder; ``hook`` is called after every module of the model."""
        with (
            self.mode(False, seed),
            eager_stance(),
            RestoreParameters(self.model),
            _forward_hook(self.model, hook),
        ):
            result = self.model(*copied_arguments(self._args), **copied_arguments(self._kwargs))
            return [tensor.detach() for tensor in output_tensors(result)]


def _forget(tensor: torch.Tensor) -> None:
    """Keep nothing of a tensor that a backward pass would need."""


def _refuse(_: None) -> torch.Tensor:
    raise RuntimeError("a pass of an audit has no backward pass")


def _with_another_row(value: object, rows: int) -> object:
    """A tensor of ``rows`` rows with its first row again at the end; anything else as it is."""
    if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == rows:
        return torch.cat([value, value[:1]])
    return value


@contextmanager
def _forward_hook(model: nn.Module, hook: Hook | None) -> Iterator[None]:
    """Within, the hook is called after every module of this model, in this thread only."""
    if hook is None:
        yield
        return
    thread, scripted = threading.get_ident(), set[int]()
    handles = []
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):  # has no hooks of its own
            scripted.add(id(module))
        else:
            handles.append(module.register_forward_hook(hook))

    def global_hook(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        if id(module) in scripted and threading.get_ident() == thread:
            hook(module, args, output)

    if scripted:
        handles.append(nn.modules.module.register_module_forward_hook(global_hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _seed_all_generators(seed: int) -> None:
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # torch.manual_seed visits every backend, which takes longer than a small model
        torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global one, which the model may use
    random.seed(seed)


@contextmanager
def restored_generators(model: nn.Module) -> Iterator[None]:
    """Put back the generators that modules hold; between the passes they run on."""
    values = (value for module in model.modules() for value in vars(module).values())
    attributes = {id(value): value for value in values if type(value) not in _NO_GENERATORS}
    restore: list[Callable[[], object]] = []
    for generator in attributes.values():
        if isinstance(generator, torch.Generator | np.random.RandomState):
            restore.append(partial(generator.set_state, generator.get_state()))  # type: ignore[arg-type]
        elif isinstance(generator, np.random.Generator):
            bits = generator.bit_generator
            restore.append(partial(setattr, bits, "state", bits.state))
        elif isinstance(generator, random.Random):
            restore.append(partial(generator.setstate, generator.getstate()))
    try:
        yield
    finally:
        for put_back in restore:
            put_back()
