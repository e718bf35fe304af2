"""TD102: masks that no dropout function draws."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from audit_corpus import (
    Body,
    Case,
    check_twins,
    in_hosts,
)
from torch import nn

import thinned


def scripted_dropout(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    return torch.nn.functional.dropout(x, p, training)


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
    SCRIPTED = torch.jit.script(scripted_dropout)


def _numpy(x: torch.Tensor, p: float) -> torch.Tensor:
    return x * torch.as_tensor(np.random.random_sample(tuple(x.shape)) >= p, dtype=x.dtype) / (1 - p)  # noqa: NPY002


def cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(3)

    def own(x: torch.Tensor, p: float) -> torch.Tensor:
        return x * (torch.rand(x.shape, generator=generator) >= p) / (1 - p)

    def bernoulli(x: torch.Tensor, p: float) -> torch.Tensor:
        return x * torch.bernoulli(torch.full_like(x, 1 - p)) / (1 - p)

    def gated(mask: Callable[[torch.Tensor, float], torch.Tensor]) -> Callable[[bool, float], nn.Module]:
        return lambda wrong, p: Body(lambda m, x: mask(x, p) if wrong or m.training else x)

    sites = {"numpy": gated(_numpy), "generator": gated(own), "bernoulli": gated(bernoulli)}
    sites["script"] = lambda wrong, p: Body(lambda m, x: SCRIPTED(x, p, wrong or m.training))
    yield from in_hosts("TD102", sites, rates=(0.3,))


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_scripted_part_is_seen_by_its_effect() -> None:
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.dropout(x, 0.5, True)

    model = nn.Sequential(nn.Linear(6, 6), torch.jit.script(Inner()), nn.Linear(6, 2))
    [finding] = thinned.audit(model, torch.randn(8, 6))
    assert (finding.code, finding.severity, finding.module) == ("TD102", "error", "1")
    assert 0.3 < finding.data["moved_zeros"] < 0.7  # of 48: fails once in 300 draws, of which there is one here


def test_sampling_in_evaluation_is_no_mistake() -> None:
    class Variational(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = self.encode(x)
            return self.decode(z + torch.randn_like(z))

    [finding] = thinned.audit(Variational(), torch.ones(4, 4))
    assert (finding.code, finding.severity) == ("TD102", "info")


def test_rows_in_another_order_differ_by_a_number() -> None:
    class Shuffled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[torch.randperm(len(x))]

    [finding] = thinned.audit(Shuffled(), torch.arange(32.0).reshape(8, 4))  # whose sum is the same in any order
    assert (finding.code, finding.severity) == ("TD102", "info")
    assert 4 <= finding.data["largest"] <= 28
    assert f"by up to {finding.data['largest']:g}" in finding.evidence
