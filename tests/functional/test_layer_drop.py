"""Layers that the mini-batch skips, against layers that run and whose output is then not used."""

from collections.abc import Callable

import pytest
import torch
from layer_cases import CALL, KEY, address
from torch import nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import thinned
from thinned import functional, masks
from thinned.layers.base import dropout_layers
from thinned.tracing import sites


class Block(nn.Module):
    """A layer with a shortcut, and something else that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(6, 6), 0

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        self.calls += 1
        return x + torch.tanh(self.linear(x if memory is None else x * memory))


class Masked(nn.Module):
    """``layer(x)`` where the mask keeps it, else ``x``: everything is computed."""

    def __init__(self, layer: nn.Module, p: float) -> None:
        super().__init__()
        self.layer, self.drop = layer, thinned.BatchDropout(p)

    def forward(self, x: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        return torch.where(self.drop(torch.ones(1, 1)) != 0, self.layer(x, **kwargs), x)


def stack(form: Callable[[nn.Module, float], nn.Module], p: float, depth: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(form(Block().double(), p) for _ in range(depth)))


def inputs() -> torch.Tensor:
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def keeps(p: float, key: int = KEY, call: int = CALL) -> bool:
    return bool(masks.keep_mask((1,), p, key, call))


def call_that(kept: bool, p: float = 0.5) -> int:
    return next(call for call in range(100) if keeps(p, call=call) is kept)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_training_is_bitwise_that_of_the_masked_stack(optimizer: type[torch.optim.Optimizer], p: float) -> None:
    """Six steps, momentum and decay included: skipped layers have gradients of zeros, so that decay moves them."""
    results, options = [], {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    for form in (thinned.LayerDrop, Masked):
        model = stack(form, p)
        steps = optimizer(model.parameters(), lr=0.01, weight_decay=0.1, **options)
        for call in range(6):
            for number, site in enumerate(dropout_layers(model).values()):
                address(site, KEY + number, call)
            steps.zero_grad()
            x = inputs().requires_grad_()
            model(x).square().mean().backward()
            steps.step()
            assert all(parameter.grad is not None for parameter in model.parameters())
        results.append([x.grad, *model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_nothing_runs_where_the_layer_is_dropped() -> None:
    layer, expected = address(thinned.LayerDrop(Block().double(), 0.5)), 0
    for call in range(20):
        layer.call.fill_(call)
        x = inputs()
        out = layer(x)
        expected += keeps(0.5, call=call)
        assert torch.equal(out, x) is not keeps(0.5, call=call)
        assert out is not x
    assert 0 < expected == layer.layer.calls < 20


@pytest.mark.parametrize("kept", [True, False])
def test_further_arguments_reach_the_layer_and_have_gradients(kept: bool) -> None:
    layer, memory, x = thinned.LayerDrop(Block().double(), 0.5), inputs().requires_grad_(), inputs()
    address(layer, call=call_that(kept))
    layer(x, memory=memory).sum().backward()
    assert bool(memory.grad.any()) is kept
    assert memory.grad is not None
    by_position = layer(x, memory)
    assert torch.equal(by_position, layer.layer(x, memory) if kept else x)


def test_evaluation_runs_every_layer_and_nothing_is_scaled() -> None:
    model = stack(thinned.LayerDrop, 0.9).eval()
    x, expected = inputs(), inputs()
    for layer in model:
        expected = layer.layer(expected)
    state = torch.get_rng_state()
    assert torch.equal(model(x), expected)
    assert torch.equal(torch.get_rng_state(), state)
    layer = address(thinned.LayerDrop(Block().double(), 0.5), call=call_that(True))
    assert torch.equal(layer(x), layer.layer(x))


def test_drawn_and_addressed_decisions_are_those_of_the_masked_stack() -> None:
    outs = []
    for form in (thinned.LayerDrop, Masked):
        model = stack(form, 0.5)
        torch.manual_seed(3)
        outs.append([model(inputs()) for _ in range(5)])
    assert all(torch.equal(a, b) for a, b in zip(*outs, strict=True))
    model = stack(thinned.LayerDrop, 0.5)
    halves = [stack(thinned.LayerDrop, 0.5) for _ in range(2)]
    thinned.address(model, 7)
    for rank, half in enumerate(halves):
        thinned.address(half, 7, parts={0: (rank, 2)})
    for _ in range(4):  # processes that share the batch skip the same layers
        parts = [half(chunk) for half, chunk in zip(halves, inputs().chunk(2), strict=True)]
        torch.testing.assert_close(torch.cat(parts), model(inputs()), rtol=0, atol=1e-14)


def test_members_and_exported_programs_are_masked() -> None:
    layer, x = address(thinned.LayerDrop(Block().double(), 0.5)), inputs()
    keys = torch.arange(8)
    outs = torch.func.vmap(lambda key: torch.func.functional_call(layer, {"key": key}, x))(keys)
    for out, key in zip(outs, keys, strict=True):
        expected = layer.layer(x) if keeps(0.5, int(key)) else x
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-14)
    program = torch.export.export(layer, (x,), strict=False)
    torch.testing.assert_close(program.module()(x), layer(x), rtol=0, atol=1e-14)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # inside torch itself
def test_compiled_checkpointed_and_under_autocast() -> None:
    torch.compiler.reset()
    layer = address(thinned.LayerDrop(Block(), 0.5))
    compiled, x = torch.compile(layer, backend="eager"), inputs().float().requires_grad_()
    for kept in (True, False, True):
        layer.call.fill_(call_that(kept))
        ways = [layer(x), compiled(x), checkpoint(layer, x, use_reentrant=False)]
        grads = [torch.autograd.grad(out.sum(), [x, *layer.parameters()]) for out in ways]
        assert all(torch.equal(ways[0], out) for out in ways)
        assert all(torch.equal(a, b) for other in grads[1:] for a, b in zip(grads[0], other, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.float32


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # inside torch itself
def test_forward_derivatives() -> None:
    """A dropped layer, and a residual branch of which no sample is kept, pass the tangent on."""
    x, tangent = inputs(), inputs().flip(0)
    layer = address(thinned.LayerDrop(Block().double(), 1.0))
    branch = address(thinned.StochasticDepth(nn.Linear(6, 6).double(), 1.0))
    with forward_ad.dual_level():
        for module in (layer, branch):
            out = forward_ad.unpack_dual(module(forward_ad.make_dual(x, tangent)))
            assert torch.equal(out.primal, x)
            assert torch.equal(out.tangent, tangent)


def test_a_recorded_pass_finds_sites_of_layers_that_are_mostly_dropped() -> None:
    model = nn.Sequential(thinned.LayerDrop(nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2)), 1.0))
    found = [(site.name, site.p) for site in sites.find(model, torch.ones(2, 6))]
    assert sorted(found) == [("0", 1.0), ("0.layer.1", 0.2)]


@pytest.mark.parametrize("training", [True, False])
def test_layers_that_return_something_else_are_refused(training: bool) -> None:
    """Their callers take them apart: an input in their place would be taken apart, too."""

    class Tuple(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (x,)

    with pytest.raises(RuntimeError, match=r"must return a tensor of its input's shape \(4, 6\); got tuple"):
        functional.layer_drop(inputs(), Tuple(), 0.0, training)
    with pytest.raises(RuntimeError, match=r"got \(4, 3\)"):
        functional.layer_drop(inputs(), nn.Linear(6, 3).double(), 0.0, training)


@pytest.mark.parametrize(
    ("p", "kept"),
    [(0.0, [1, 2, 3, 4, 5, 6, 7]), (0.5, [1, 3, 5, 7]), (1 / 3, [1, 2, 4, 5, 7]), (0.2, [1, 2, 3, 4, 6, 7])],
)
def test_every_other(p: float, kept: list[int]) -> None:
    """Depths that floor(1 / p) divides go: half of the layers is every second one."""
    layers = [nn.Linear(depth, depth) for depth in range(1, 8)]
    for container in (nn.ModuleList(layers), nn.Sequential(*layers)):
        pruned = thinned.every_other(container, p)
        assert type(pruned) is type(container)
        assert [layer.in_features for layer in pruned] == kept
        assert len(container) == 7
    assert [len(thinned.every_other(nn.ModuleList(layers * 28), 1 / n)) for n in (49, 98)] == [192, 194]


def test_shares_that_would_prune_everything_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 0.5\]; got p=0.6; choose the layers yourself"):
        thinned.every_other(nn.ModuleList(), 0.6)
