"""The configuration of training a network of one's own."""

import dataclasses
import math
from typing import Literal, get_args

import torch

from thinned.errors import InputError, sentence
from thinned.studies.design.setting import Setting

__all__ = ["NetworkConfig", "Optimizer", "Precision", "Schedule"]

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["constant", "cosine"]
Precision = Literal["float32", "bfloat16"]
_CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
}


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """How each network is trained.

    Attributes:
        epochs: training budget. An incomplete last batch is left out; the order of the examples is new every epoch.
        batch_size: examples of a step.
        learning_rate: of the first step.
        optimizer: "adamw" (Loshchilov & Hutter 2019) or "sgd".
        momentum: of "sgd".
        schedule: "constant", or "cosine" from the learning rate to 0 over all steps (Loshchilov & Hutter 2017).
        weight_decay: decay of matrices and kernels, not of biases, decoupled from the gradient: each step subtracts the
            learning rate times this.
        patience: training stops after so many epochs without a lower validation loss; None never stops.
        clip: largest norm of all gradients together; None sets no limit.
        precision: "bfloat16" lets torch compute matrix products and convolutions in it; weights stay as they are.
        device: "cpu", "cuda", "mps" or another of torch's; None takes the accelerator, or else the CPU.
        loader_workers: processes that read a dataset that is not in memory; 0 reads it in the process that trains.
    """

    epochs: int
    batch_size: int
    learning_rate: float = 1e-3
    optimizer: Optimizer = "adamw"
    momentum: float = 0.9
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    patience: int | None = None
    clip: float | None = None
    precision: Precision = "float32"
    device: str | None = None
    loader_workers: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no network can be trained with."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                text = " or ".join(map(repr, choices))
                raise InputError(sentence(f"{name} must be {text}", f"got {getattr(self, name)!r}"))
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(sentence(f"{name} must be a whole number of at least 1", f"got {value!r}"))
        if type(self.loader_workers) is not int or self.loader_workers < 0:
            raise InputError(sentence("loader_workers must be a whole number from 0", f"got {self.loader_workers!r}"))
        for name, least in (("learning_rate", True), ("clip", True), ("weight_decay", False)):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf or (value == 0 and not least)):
                requirement = f"{name.replace('_', ' ')} must be a {'positive number' if least else 'number from 0'}"
                raise InputError(sentence(requirement, f"got {value!r}"))
        if not 0 <= self.momentum < 1:
            raise InputError(sentence("momentum must lie in [0, 1)", f"got {self.momentum!r}"))
        self.torch_device()

    def with_setting(self, setting: Setting) -> "NetworkConfig":
        """The same with the weight decay of a setting, and with its learning rate where it has one."""
        learning_rate = setting.learning_rate or self.learning_rate
        return dataclasses.replace(self, weight_decay=setting.weight_decay, learning_rate=learning_rate)

    def torch_device(self) -> torch.device:
        """The device that networks are trained on.

        Raises:
            InputError: there is none of this name.
        """
        if self.device is None:
            found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
            return torch.device("cpu") if found is None else found
        try:
            torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            value = f"torch says of {self.device!r}: {str(error).splitlines()[0]}"
            raise InputError(sentence("device must be one that torch can use here", value)) from None
        return torch.device(self.device)
