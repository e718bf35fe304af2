"""An audit in one thread, and other models in other threads."""

import random
import threading
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from audit_corpus import IMAGE, Net
from torch import nn

import thinned

ROUNDS = 3


def run_together(*functions: Callable[[], None]) -> None:
    """Start each function in a thread of its own, all at once, and raise what they raise."""
    barrier, errors = threading.Barrier(len(functions)), []

    def run(function: Callable[[], None]) -> None:
        try:
            barrier.wait(timeout=60)
            function()
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def findings(model: nn.Module) -> list[tuple[str, str, dict]]:
    return [(finding.code, finding.module, finding.data) for finding in thinned.audit(model, IMAGE)]


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Net()


def masked() -> nn.Module:
    """TD102: the audit looks for the module where evaluations differ."""

    class Mask(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.bernoulli(torch.full_like(x, 0.5))

    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), Mask(), nn.Conv2d(2, 2, 3))


def test_audits_in_eight_threads_give_what_they_give_alone() -> None:
    alone = [findings(net(seed)) for seed in range(7)] + [findings(masked())]
    models = [net(seed) for seed in range(7)] + [masked()]
    together: list[list] = [[] for _ in models]
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    filters = list(warnings.filters)

    def audit(index: int) -> None:
        for _ in range(ROUNDS):
            together[index].append(findings(models[index]))

    run_together(*(lambda index=index: audit(index) for index in range(8)))
    assert all(results == [expected] * ROUNDS for results, expected in zip(together, alone, strict=True))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
    assert random.getstate() == state[2]
    assert warnings.filters == filters


@pytest.mark.parametrize("audited", [lambda: net(0), masked])
def test_training_of_an_addressed_model_is_left_alone(audited: Callable[[], nn.Module]) -> None:
    def build() -> nn.Module:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.5), nn.TransformerEncoderLayer(32, 2, 32, 0.3))
        thinned.address(model, seed=7)
        return model

    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    model, other = build(), audited()
    expected, alone = [model(x) for _ in range(60)], findings(other)
    model, outputs, trained, results = build(), [], threading.Event(), []

    def train() -> None:
        try:
            outputs.extend(model(x) for _ in range(60))
        finally:
            trained.set()

    def audit() -> None:
        while not trained.is_set():
            results.append(findings(other))

    run_together(train, audit)
    assert [index for index, (a, b) in enumerate(zip(outputs, expected, strict=True)) if not torch.equal(a, b)] == []
    assert results
    assert all(result == alone for result in results)
    assert all(module.training for module in model.modules())
    assert int(model.thinned_clock) == 60
