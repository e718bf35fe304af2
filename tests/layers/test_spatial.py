"""Channel dropout takes, refuses and warns about inputs as torch does."""

import warnings

import pytest
import torch
from torch import nn

import thinned
from thinned import functional

TORCH_NAMES = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]


@pytest.mark.parametrize("name", TORCH_NAMES)
@pytest.mark.parametrize(
    "shape", [(), (3,), (3, 4), (2, 3, 4), (2, 3, 4, 2), (2, 3, 4, 2, 2), (2, 1, 3, 4, 2, 2)], ids=str
)
@pytest.mark.parametrize("training", [True, False])
def test_ranks_are_taken_refused_and_warned_about_as_in_torch(
    name: str, shape: tuple[int, ...], training: bool
) -> None:
    x = torch.ones(shape)

    def attempt(module: nn.Module) -> tuple[object, list[type]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                out = module.train(training)(x)
            except Exception as error:  # noqa: BLE001 - the type is what is compared
                return type(error), []
        return out.shape, [warning.category for warning in caught]

    assert attempt(getattr(thinned, name)(0.5)) == attempt(getattr(nn, name)(0.5))


@pytest.mark.parametrize(
    ("name", "shape"), [("Dropout2d", (4, 30, 5)), ("Dropout2d", (4, 5)), ("Dropout3d", (9, 8, 2))]
)
def test_unusual_ranks_share_what_torch_shares(name: str, shape: tuple[int, ...]) -> None:
    """Units that torch decides together over 50 calls are those that we decide together."""
    patterns = []
    for package in (thinned, nn):
        layer = getattr(package, name)(0.5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calls = torch.stack([layer(torch.ones(shape)).flatten() for _ in range(50)])
        patterns.append((calls[:, :, None] == calls[:, None]).all(0))
    assert torch.equal(*patterns)


def test_a_warning_names_the_caller() -> None:
    with pytest.warns(UserWarning, match="dropout2d: Received a 3D input") as caught:
        thinned.Dropout2d()(torch.ones(2, 3, 4))
    assert caught[0].filename.endswith("spatial.py")
    with pytest.warns(UserWarning, match="dropout2d: Received") as caught:
        functional.dropout2d(torch.ones(2, 3, 4))
    assert caught[0].filename == __file__
