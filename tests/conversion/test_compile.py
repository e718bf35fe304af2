"""Compiled models: many masks of one module, and checkpointing in and around what is compiled."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned import philox

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()


class Rounds(nn.Module):
    """A module and a function that drop in every round."""

    def __init__(self, rounds):
        super().__init__()
        self.drop, self.rounds = nn.Dropout(0.5), rounds

    def forward(self, x):
        return torch.stack([F.dropout(self.drop(x), 0.25, self.training) for _ in range(self.rounds)])


class Decoder(nn.Module):
    """One cell over many steps, one attention shared by many layers."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True)

    def forward(self, x):
        for _ in range(10):
            x = x + self.attention(x, x, x, need_weights=False)[0]
        return x


def twins(model, seed=3):
    thinned.address(model, seed)
    return model, copy.deepcopy(model)


@pytest.mark.parametrize("rounds", [9, 20])
def test_many_masks_of_one_module(rounds):
    model, twin = twins(Rounds(rounds))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.ones(2, 32)
    for _ in range(2):
        out = compiled(x)
        assert torch.equal(out, twin(x))
        assert len({tuple(part.flatten().tolist()) for part in out != 0}) == rounds


def test_attention_shared_by_ten_layers():
    model, twin = twins(Decoder())
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(compiled(x), twin(x))


def test_more_masks_than_are_known_beforehand():
    """Each has its address, too: torch.compile needs to know 128 of a module."""
    model = nn.Sequential(Rounds(140))
    thinned.address(model, 3)
    out = model(torch.ones(64))
    for ordinal in (0, 127, 128, 139):
        inner, outer = (
            thinned.masks.keep_mask(
                (64,), p, philox.fold_in(3, philox.site_number(name + f"#{ordinal}" * (ordinal > 0)))
            )
            for name, p in (("0.drop", 0.5), ("0", 0.25))
        )
        assert torch.equal(out[ordinal] != 0, inner & outer)


class Checkpointed(nn.Module):
    def __init__(self, *, checkpointed):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), Rounds(2), nn.Tanh()) for _ in range(2))
        self.checkpointed = checkpointed

    def forward(self, x):
        for block in self.blocks:
            x = (checkpoint(block, x, use_reentrant=False) if self.checkpointed else block(x)).mean(0)
        return x


def test_checkpointing_in_a_compiled_model():
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = Checkpointed(checkpointed=checkpointed)
        thinned.address(model, 3)
        run = torch.compile(model, backend="aot_eager") if checkpointed else model
        for _ in range(2):
            run(torch.ones(4, 8)).sum().backward()
        assert model.thinned_clock.item() == 2
        gradients.append([p.grad for p in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("part", ["model", "block"])
def test_checkpointing_around_what_is_compiled(reentrant, part):
    """Nothing that runs eagerly could capture the region: an error, no gradient of another mask."""
    model = nn.Sequential(nn.Linear(8, 8), Rounds(2))
    thinned.address(model, 3)
    x = torch.ones(4, 8, requires_grad=True)
    compiled = torch.compile(model if part == "model" else model[1], backend="aot_eager")
    with pytest.raises((RuntimeError, torch._dynamo.exc.TorchDynamoException)):
        checkpoint(compiled, x, use_reentrant=reentrant).sum().backward()
