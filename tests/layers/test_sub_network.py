"""Networks of the size that one mask for the batch leaves, against the same layers with the mask applied."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from layer_cases import KEY, address
from torch import nn

import thinned
from thinned import functional, masks
from thinned.layers.base import dropout_layers
from thinned.tracing import sites

EPS = torch.finfo(torch.float32).eps


def layers_of(p: float, input_p: float = 0.2, dtype: torch.dtype = torch.float64) -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        thinned.BatchDropout(input_p),
        *(nn.Linear(7, 12), nn.ReLU(), thinned.BatchDropout(p)),
        *(nn.Linear(12, 9, bias=False), nn.Tanh(), nn.LeakyReLU(), thinned.BatchDropout(p)),
        *(nn.Linear(9, 5), nn.GELU(), nn.Linear(5, 3).to(dtype)),
    ]


def pair(p: float, input_p: float = 0.2, dtype: torch.dtype = torch.float64) -> list[nn.Sequential]:
    """A thinned network and the masked one, with the same weights and addresses."""
    models = [form(*layers_of(p, input_p)).to(dtype) for form in (thinned.ThinnedMLP, nn.Sequential)]
    for model in models:
        for number, site in enumerate(dropout_layers(model).values()):
            address(site, KEY + number)
    return models


def inputs(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(6, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()]))


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("input_p", [0.0, 0.3, 1.0])
def test_equals_the_masked_network_forward_and_backward(p: float, input_p: float) -> None:
    """In float64, to 1e-12: the same sums of at most 12 terms near 1, some of them zeros in one form."""
    ours, theirs = pair(p, input_p)
    x = inputs().requires_grad_()
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x), rtol=1e-12, atol=1e-12)


def test_single_precision_differs_by_the_rounding_of_sums_alone() -> None:
    """Each form's sum of at most k nonzero products is within k eps Σ|products| of the true one."""
    first, second = nn.Linear(30, 64, bias=False), nn.Linear(64, 20, bias=False)
    models = [
        form(first, nn.Identity(), address(thinned.BatchDropout(0.5)), second)
        for form in (thinned.ThinnedMLP, nn.Sequential)
    ]
    x = torch.randn(16, 30)
    ours, theirs = (model(x) for model in models)
    products = 2 * x.abs() @ first.weight.abs().T @ second.weight.abs().T  # survivors are doubled
    assert ((ours - theirs).abs() <= 2 * (30 + 64 + 1) * EPS * products).all()
    assert not torch.equal(ours, models[0].eval()(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_dtypes(dtype: torch.dtype) -> None:
    """Values near 1 that each of 3 layers rounds to the dtype's precision, with sums of at most 12 terms."""
    ours, theirs = pair(0.5, dtype=dtype)
    out, expected = ours(inputs(dtype)), theirs(inputs(dtype))
    assert out.dtype == expected.dtype == dtype
    torch.testing.assert_close(out, expected, rtol=0, atol=3 * 12 * torch.finfo(dtype).eps)


def test_gradients_of_what_is_dropped_are_exact_zeros_and_momentum_moves_it() -> None:
    ours, theirs = pair(0.5)
    kept_in, hidden = (masks.keep_mask((n,), p, KEY + i, 3) for i, (n, p) in enumerate([(7, 0.2), (12, 0.5)]))
    gradients_of = dict(
        zip(["x", *dict(ours.named_parameters())], gradients(ours, inputs().requires_grad_()), strict=True)
    )
    weight = gradients_of["1.weight"]
    assert (weight[~hidden] == 0).all()
    assert (weight[:, ~kept_in] == 0).all()
    assert (weight[hidden][:, kept_in] != 0).any()
    assert (gradients_of["1.bias"][~hidden] == 0).all()
    before = ours[1].weight.detach().clone()
    for model in (ours, theirs):
        steps = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for call in (3, 4, 5):
            for site in dropout_layers(model).values():
                site.call = torch.tensor(call)
            steps.zero_grad()
            model(inputs()).square().mean().backward()
            steps.step()
    torch.testing.assert_close(list(ours.parameters()), list(theirs.parameters()), rtol=1e-12, atol=1e-12)
    assert (ours[1].weight != before).all()


def test_drawn_and_addressed_masks_are_those_of_the_sequence() -> None:
    ours, theirs = thinned.ThinnedMLP(*layers_of(0.5)).double(), nn.Sequential(*layers_of(0.5)).double()
    outs = []
    for model in (ours, theirs):
        torch.manual_seed(5)
        outs.append([model(inputs()) for _ in range(3)])
    torch.testing.assert_close(*outs, rtol=0, atol=1e-12)
    for model in (ours, theirs):
        thinned.address(model, 9)
    for _ in range(3):
        torch.testing.assert_close(ours(inputs()), theirs(inputs()), rtol=0, atol=1e-12)
    assert torch.equal(ours.eval()(inputs()), theirs.eval()(inputs()))


def test_autocast() -> None:
    ours, theirs = pair(0.5, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out, expected = ours(inputs(torch.float32)), theirs(inputs(torch.float32))
    assert out.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, rtol=0, atol=3 * 12 * 2**-8)


def test_hooks_and_transforms_see_the_whole_layers() -> None:
    ours, theirs = pair(0.5)
    seen: list[torch.Size] = []
    handle = ours[1].register_forward_hook(lambda _, __, out: seen.append(out.shape))
    assert torch.equal(ours(inputs()), theirs(inputs()))
    assert seen == [(6, 12)]
    handle.remove()
    members = torch.func.vmap(ours, randomness="same")(torch.stack([inputs()] * 2))
    torch.testing.assert_close(members[0], theirs(inputs()), rtol=0, atol=1e-12)
    found = [site.name for site in sites.find(ours, inputs())]
    assert found == ["0", "3", "7"]


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # inside torch itself
def test_compiled() -> None:
    torch.compiler.reset()
    ours, theirs = pair(0.5)
    compiled = torch.compile(ours, backend="eager")
    for call in range(5):
        for model in (ours, theirs):
            for site in dropout_layers(model).values():
                site.call.fill_(call)
        torch.testing.assert_close(compiled(inputs()), theirs(inputs()), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2)], "got LayerNorm as 1"),
        ([nn.Linear(2, 2), nn.Softmax(-1), nn.Linear(2, 2)], "got Softmax as 1"),
        ([nn.Linear(2, 2), thinned.Dropout(0.5), nn.Linear(2, 2)], "got Dropout as 1"),
        ([nn.Linear(2, 2), thinned.BatchDropout(0.5), nn.ReLU(), nn.Linear(2, 2)], "got ReLU as 2"),
        ([nn.Linear(2, 2), nn.ReLU()], "ends with Linear; got Linear, ReLU"),
        ([nn.ReLU(), nn.Linear(2, 2)], "begins with BatchDropout or Linear"),
        ([], "begins with"),
    ],
)
def test_other_sequences_are_refused(modules: list[nn.Module], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        thinned.ThinnedMLP(*modules)


def test_sequences_of_positions_are_masked() -> None:
    """``BatchDropout`` has a mask for each position, so that no unit is dropped at all of them."""
    ours, theirs = pair(0.5)
    x = torch.stack([inputs()] * 2)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("number", [0, 2])
def test_hooks_on_what_is_no_linear_layer_see_all_units(number: int) -> None:
    ours, theirs = pair(0.5)
    shapes: list[torch.Size] = []
    ours[number].register_forward_hook(lambda _, __, out: shapes.append(out.shape))
    assert torch.equal(ours(inputs()), theirs(inputs()))
    assert shapes == [(6, 7 if number == 0 else 12)]


# --- feed-forward -----------------------------------------------------------------------------------------------------


def masked(layer: thinned.ThinnedFeedForward, x: torch.Tensor) -> torch.Tensor:
    """The layers written out, with one mask for all positions."""
    up = layer.up_proj(x)
    hidden = layer.activation(up) if layer.gate_proj is None else layer.activation(layer.gate_proj(x)) * up
    drop = layer.dropout
    shared = range(x.ndim - 1)
    return layer.down_proj(functional.dropout(hidden, drop.p, shared=shared, key=int(drop.key), call=int(drop.call)))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_feed_forward_equals_the_masked_layers(gated: bool, p: float) -> None:
    layer = address(thinned.ThinnedFeedForward(8, 24, p, F.silu, gated=gated)).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    parameters = [x, *layer.parameters()]
    torch.testing.assert_close(layer(x), masked(layer, x), rtol=0, atol=1e-12)
    ours, theirs = (torch.autograd.grad(out.square().sum(), parameters) for out in (layer(x), masked(layer, x)))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    kept = masks.keep_mask((24,), p, KEY, 3)
    assert (ours[1][~kept] == 0).all()
    layer.up_proj.register_forward_hook(lambda *_: None)  # which makes it run masked
    torch.testing.assert_close(layer(x), masked(layer, x), rtol=0, atol=1e-12)
    layer.eval()
    hidden = F.silu(layer.gate_proj(x)) * layer.up_proj(x) if gated else F.silu(layer.up_proj(x))
    assert torch.equal(layer(x), layer.down_proj(hidden))


@pytest.mark.parametrize("activation", [lambda x: x.softmax(-1), nn.LayerNorm(12), lambda x: x.sum(-1)])
def test_activations_that_mix_units_are_refused(activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        thinned.ThinnedFeedForward(8, 12, 0.5, activation)


def test_second_derivatives() -> None:
    layer = address(thinned.ThinnedFeedForward(3, 6, 0.5, torch.tanh)).double()
    assert torch.autograd.gradgradcheck(layer, torch.randn(2, 3, dtype=torch.float64, requires_grad=True))


def test_a_module_that_stands_twice_runs_twice() -> None:
    torch.manual_seed(0)
    activation, dropout = nn.Tanh(), address(thinned.BatchDropout(0.5))
    layers = [nn.Linear(7, 8), activation, dropout, nn.Linear(8, 8), activation, dropout, nn.Linear(8, 2)]
    ours, theirs = thinned.ThinnedMLP(*layers).double(), nn.Sequential(*layers).double()
    torch.testing.assert_close(ours(inputs()), theirs(inputs()), rtol=0, atol=1e-12)
