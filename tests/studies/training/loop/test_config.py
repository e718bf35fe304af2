"""Values that no network can be trained with are refused."""

import pytest
import torch

from thinned.errors import InputError
from thinned.studies.design.setting import Setting
from thinned.studies.training.loop import NetworkConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adam"}, "optimizer must be 'adamw' or 'sgd'; got 'adam'"),
        ({"schedule": "step"}, "schedule must be"),
        ({"precision": "float16"}, "precision must be"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
        ({"batch_size": 1.5}, "batch_size must be"),
        ({"patience": 0}, "patience must be"),
        ({"loader_workers": -1}, "loader_workers must be"),
        ({"learning_rate": 0}, "learning rate must be a positive number"),
        ({"weight_decay": -1}, "weight decay must be a number from 0"),
        ({"clip": float("nan")}, "clip must be"),
        ({"momentum": 1.0}, "momentum must lie in"),
        ({"device": "toaster"}, "device must be one that torch can use here; torch says of 'toaster'"),
    ],
)
def test_what_can_not_be_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        NetworkConfig(**{"epochs": 1, "batch_size": 1} | changes)


def test_a_setting_adds_its_own() -> None:
    config = NetworkConfig(1, 1).with_setting(Setting(weight_decay=0.3))
    assert config.weight_decay == 0.3
    assert config.with_setting(Setting()).weight_decay == 0
    assert NetworkConfig(1, 1, device="cpu").torch_device() == torch.device("cpu")
