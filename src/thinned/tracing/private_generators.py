"""Random numbers of a pass that nobody else notices.

What a model draws by itself comes from generators of the pass, which start in the state of torch's default generators.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.nn import init

from thinned.tracing.torch_functions import NOISE

__all__ = ["PrivateGenerators", "TorchFunction"]

TorchFunction = Callable[..., object]


class PrivateGenerators:
    """Generators of one pass, a device each."""

    def __init__(self) -> None:
        self._generators: dict[torch.device, torch.Generator] = {}

    def call(self, function: TorchFunction, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Call a function with a private generator where it draws random numbers and takes a generator."""
        if function not in _NOISE or function in _WITHOUT_GENERATOR or kwargs.get("generator") is not None:
            return function(*args, **kwargs)
        if (device := _device(args, kwargs)).type == "meta":
            return function(*args, **kwargs)
        try:
            return function(*args, **{**kwargs, "generator": self._generator(device)})
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


# initialisations that torch hands over as a whole, with all that they draw
_NOISE = NOISE | {init.uniform_, init.normal_, init.kaiming_uniform_}
_WITHOUT_GENERATOR = frozenset({torch.native_dropout, F.rrelu, F.gumbel_softmax})


def _device(args: tuple[object, ...], kwargs: dict[str, object]) -> torch.device:
    if isinstance(device := kwargs.get("device"), torch.device | str | int):
        return torch.device(device)
    tensor = next((arg for arg in (*args, *kwargs.values()) if isinstance(arg, torch.Tensor)), None)
    return torch.get_default_device() if tensor is None else tensor.device
