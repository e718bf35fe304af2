"""Functions of torch as a pass of the ensemble runs them, so that nothing outside the pass changes.

Normalisation uses running statistics and leaves them alone. Random numbers that a model draws by itself come from
generators of the pass, which start in the state of torch's default generators.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from thinned.tracing.torch_functions import NOISE

__all__ = ["PrivateGenerators", "TorchFunction", "normalise"]

TorchFunction = Callable[..., object]


def _batch_norm(
    input: torch.Tensor,  # noqa: A002
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    by_batch = training and running_mean is None
    return F.batch_norm(input, running_mean, running_var, weight, bias, by_batch, momentum, eps)


def _instance_norm(
    input: torch.Tensor,  # noqa: A002
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    by_input = use_input_stats and running_mean is None
    return F.instance_norm(input, running_mean, running_var, weight, bias, by_input, momentum, eps)


_NORMALISATIONS: Mapping[TorchFunction, TorchFunction] = {F.batch_norm: _batch_norm, F.instance_norm: _instance_norm}


def normalise(function: TorchFunction) -> TorchFunction:
    """The form of a normalisation that evaluation runs: a batch of one row has no statistics; others are themselves."""
    return _NORMALISATIONS.get(function, function)


class PrivateGenerators:
    """Generators of one pass, a device each."""

    def __init__(self) -> None:
        self._generators: dict[torch.device, torch.Generator] = {}

    def call(self, function: TorchFunction, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Call a function with a private generator where it draws random numbers and takes a generator."""
        if function not in NOISE or function in _WITHOUT_GENERATOR or kwargs.get("generator") is not None:
            return function(*args, **kwargs)
        if (device := _device(args, kwargs)).type == "meta":
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs, generator=self._generator(device))
        except TypeError:  # the functions on "_like" take no generator before torch 2.9
            return function(*args, **kwargs)

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = generator = torch.Generator(device)
            if device.type == "cpu":
                generator.set_state(torch.get_rng_state())
            else:
                generator.set_state(torch.get_device_module(device).get_rng_state(device))
        return self._generators[device]


_WITHOUT_GENERATOR = frozenset({torch.native_dropout, F.rrelu, F.gumbel_softmax})


def _device(args: tuple[object, ...], kwargs: dict[str, object]) -> torch.device:
    if isinstance(device := kwargs.get("device"), torch.device | str | int):
        return torch.device(device)
    tensor = next((arg for arg in args if isinstance(arg, torch.Tensor)), None)
    return torch.get_default_device() if tensor is None else tensor.device
