"""A branch that runs on the kept samples alone, against the branch that runs on all and is masked."""

import copy
from collections.abc import Callable

import pytest
import torch
from layer_cases import CALL, KEY, address
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned import functional, layers, masks, philox
from thinned.tracing import sites

EPS = torch.finfo(torch.float32).eps


class Masked(nn.Module):
    """``x + drop_path(branch(x))``, as everyone writes it."""

    def __init__(self, branch: nn.Module, p: float) -> None:
        super().__init__()
        self.branch, self.drop = branch, thinned.DropPath(p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.branch(x))


def branch(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6)).to(dtype)


def inputs(rows: int = 9, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(rows, 3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def gradients(module: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, *wrt: torch.Tensor) -> list[object]:
    return list(torch.autograd.grad(module(x).square().sum(), [x, *wrt]))


def calls_in_order(p: float) -> list[int]:
    """A call in which some of 9 samples are kept, one in which none is (if p lets it), one in which all are."""
    kept = [int(masks.keep_mask((9,), p, KEY, call).sum()) for call in range(4000)]
    some = next(call for call, n in enumerate(kept) if 1 < n < 8)
    return [some, *(kept.index(n) for n in (0, 9) if n in kept)]


@pytest.mark.parametrize("p", [0.3, 0.7])
@pytest.mark.parametrize("scale_by_keep", [True, False])
def test_equals_the_masked_branch_forward_and_backward(p: float, scale_by_keep: bool) -> None:
    """In float64, to 1e-12: the same sums of at most 12 terms near 1, whose order may differ."""
    body, x = branch(), inputs().requires_grad_()
    for call in calls_in_order(p):
        options = {"p": p, "training": True, "scale_by_keep": scale_by_keep, "key": KEY, "call": call}

        def skipped(x: torch.Tensor, options: dict[str, object] = options) -> torch.Tensor:
            return functional.stochastic_depth(x, body, **options)

        def masked(x: torch.Tensor, options: dict[str, object] = options) -> torch.Tensor:
            return x + functional.drop_path(body(x), options["p"], **{k: v for k, v in options.items() if k != "p"})

        torch.testing.assert_close(skipped(x), masked(x), rtol=0, atol=1e-12)
        ours, theirs = (gradients(form, x, *body.parameters()) for form in (skipped, masked))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_single_precision_differs_by_rounding_of_the_products_alone() -> None:
    """Two sums of the same k products in some order are each within k eps Σ|products| of the true one."""
    linear, x = nn.Linear(64, 64, bias=False), torch.randn(32, 64)
    ours = functional.stochastic_depth(x, linear, 0.5, key=KEY)
    theirs = x + functional.drop_path(linear(x), 0.5, True, key=KEY)
    products = functional.drop_path(x.abs() @ linear.weight.abs().T, 0.5, True, key=KEY)
    bound = 2 * 64 * EPS * products + 2 * EPS * (x.abs() + products)  # and the scaling and the addition
    assert ((ours - theirs).abs() <= bound).all()
    kept = masks.keep_mask((32,), 0.5, KEY)
    assert torch.equal(ours[~kept], x[~kept])
    assert not torch.equal(ours[kept], x[kept])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_an_elementwise_branch_is_bitwise_the_masked_one(dtype: torch.dtype) -> None:
    x = inputs(40, dtype)
    ours = functional.stochastic_depth(x, torch.tanh, 0.3, key=KEY, call=CALL)
    theirs = x + functional.drop_path(torch.tanh(x), 0.3, True, key=KEY, call=CALL)
    assert ours.dtype == dtype
    assert torch.equal(ours, theirs)


class Counting(nn.Module):
    """Notes the number of rows of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.rows = nn.Linear(6, 6), []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        return self.linear(x)


def test_nothing_runs_for_what_is_dropped() -> None:
    body, x = Counting(), inputs(9, torch.float32)
    seen = []
    body.register_forward_hook(lambda *_: seen.append(1))
    layer = address(thinned.StochasticDepth(body, 0.7))
    expected = []
    for call in range(200):
        layer.call.fill_(call)
        out = layer(x)
        kept = int(masks.keep_mask((9,), 0.7, KEY, call).sum())
        expected += [kept] * (kept > 0)
        assert kept or torch.equal(out, x)
    assert body.rows == expected
    assert len(expected) == len(seen) < 200  # hooks on the branch see each of its calls, and none was for no sample


@pytest.mark.parametrize("function", [False, True])
def test_an_empty_selection_has_gradients_of_zeros(function: bool) -> None:
    body, x = branch(), inputs().requires_grad_()
    frozen = next(body.parameters()).requires_grad_(False)
    out = functional.stochastic_depth(x, body.forward if function else body, 1.0, key=KEY)
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert all((p.grad == 0).all() for p in body.parameters() if p is not frozen)
    assert frozen.grad is None
    out.detach().add_(1)
    assert torch.equal(x, inputs())  # the result is a tensor of its own


def test_rate_zero_and_evaluation_are_bitwise_the_plain_sum() -> None:
    body, x = branch(torch.float32), inputs(9, torch.float32)
    state = torch.get_rng_state()
    assert torch.equal(functional.stochastic_depth(x, body, 0.0), x + body(x))
    assert torch.equal(thinned.StochasticDepth(body, 0.9).eval()(x), x + body(x))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_training_is_that_of_the_masked_model(optimizer: type[torch.optim.Optimizer]) -> None:
    """Three steps of a model of two blocks, momentum and decay included, one with calls that keep nothing."""
    models = [nn.Sequential(*(form(branch(), 0.8) for _ in range(2))) for form in (thinned.StochasticDepth, Masked)]
    options = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    for model in models:
        for number, site in enumerate(layers.base.dropout_layers(model).values()):
            address(site, KEY + number)
        steps = optimizer(model.parameters(), lr=0.01, weight_decay=0.1, **options)
        for call in range(12):
            for site in layers.base.dropout_layers(model).values():
                site.call = torch.tensor(call)
            steps.zero_grad()
            model(inputs(3)).square().mean().backward()
            steps.step()
    kept = [int(masks.keep_mask((3,), 0.8, KEY, call).sum()) for call in range(12)]
    assert 0 in kept
    assert any(kept)
    for ours, theirs in zip(*(m.parameters() for m in models), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


def test_drawn_keys_are_those_of_drop_path() -> None:
    body, x = branch(), inputs()
    ours, theirs = thinned.StochasticDepth(body, 0.5), Masked(body, 0.5)
    outs = []
    for model in (ours, theirs):
        torch.manual_seed(3)
        outs.append([model(x) for _ in range(3)])
    torch.testing.assert_close(*outs, rtol=0, atol=1e-12)


def test_an_addressed_model_equals_the_masked_one() -> None:
    """``thinned.address`` names sites after modules: both forms have one of the same name."""
    models = [nn.ModuleDict({"block": thinned.StochasticDepth(branch(), 0.5)}), nn.ModuleDict()]
    models[1]["block"] = thinned.DropPath(0.5)

    class Root(nn.Module):
        def __init__(self, parts: nn.ModuleDict, masked: bool) -> None:
            super().__init__()
            self.parts, self.body, self.masked = parts, [branch()], masked

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            site = self.parts["block"]
            return x + site(self.body[0](x)) if self.masked else site(x)

    roots = [Root(parts, masked) for parts, masked in zip(models, (False, True), strict=True)]
    for root in roots:
        thinned.address(root, seed=5)
    for _ in range(4):
        torch.testing.assert_close(*(root(inputs()) for root in roots), rtol=0, atol=1e-12)


def test_half_a_batch_drops_what_the_whole_would() -> None:
    whole = nn.Sequential(thinned.StochasticDepth(branch(), 0.5))
    halves = [copy.deepcopy(whole) for _ in range(2)]
    thinned.address(whole, 7)
    for rank, half in enumerate(halves):
        thinned.address(half, 7, parts={0: (rank, 2)})
    x = inputs(8)
    parts = torch.cat([half(chunk) for half, chunk in zip(halves, x.chunk(2), strict=True)])
    torch.testing.assert_close(parts, whole(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("addressed", [True, False])
def test_checkpointing_changes_no_gradient(reentrant: bool, addressed: bool) -> None:
    layer = thinned.StochasticDepth(branch(), 0.5)
    model = nn.Sequential(layer)
    if addressed:
        thinned.address(model, 3)
    grads = []
    for wrapped in (False, True):
        if addressed:
            model.thinned_clock.zero_()
        torch.manual_seed(0)
        x = inputs().requires_grad_()
        out = checkpoint(model, x, use_reentrant=reentrant) if wrapped else model(x)
        model.zero_grad()
        out.square().sum().backward()
        grads.append([x.grad, *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_autocast_has_the_types_of_the_masked_form() -> None:
    body, x = branch(torch.float32), inputs(40, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = functional.stochastic_depth(x, body, 0.5, key=KEY)
        theirs = x + functional.drop_path(body(x), 0.5, True, key=KEY)
    assert ours.dtype == theirs.dtype == torch.float32
    # both round each of 4 operations to 8 bits; their common scale is that of the values
    torch.testing.assert_close(ours, theirs, rtol=0, atol=4 * 2**-8 * float(theirs.detach().abs().max()))
    kept = masks.keep_mask((40,), 0.5, KEY)
    assert torch.equal(ours[~kept], x[~kept])


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # inside torch itself
def test_a_compiled_layer_takes_any_number_of_samples() -> None:
    torch.compiler.reset()
    layer, graphs = address(thinned.StochasticDepth(branch(), 0.7)), []

    def backend(module: torch.fx.GraphModule, _: object) -> object:
        graphs.append(module)
        return module.forward

    compiled = torch.compile(layer, backend=backend)
    for call in range(24):
        layer.call.fill_(call)
        x = inputs(9 - call % 3).requires_grad_()
        torch.testing.assert_close(compiled(x), layer(x), rtol=0, atol=1e-12)
        torch.testing.assert_close(
            gradients(compiled, x, *layer.parameters()), gradients(layer, x, *layer.parameters()), rtol=0, atol=1e-11
        )
    assert len(graphs) <= 16  # decisions; a branch for one number, for any, for one sample, for none; one batch, any


@pytest.mark.parametrize("form", ["samples", "units", "layer", "heads"])
@torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True)
def test_one_graph_where_sizes_may_depend_on_data(form: str) -> None:
    """Rows and units are left out, in a graph of any number of them; a layer or heads are masked."""
    torch.compiler.reset()
    attention = thinned.ThinnedAttention(6, 3, 0.5)
    layer = {
        "samples": thinned.StochasticDepth(branch(), 0.8),
        "units": thinned.ThinnedFeedForward(6, 8, 0.8),
        "layer": thinned.LayerDrop(branch(), 0.5),
        "heads": attention,
    }[form]
    (site,) = layers.base.dropout_layers(address(layer.double())).values()

    def run(x: torch.Tensor) -> torch.Tensor:
        return layer(x, x, x, need_weights=False)[0] if layer is attention else layer(x)

    compiled, x = torch.compile(run, backend="eager", fullgraph=True), inputs(4).requires_grad_()
    for call in range(8):
        site.call.fill_(call)
        torch.testing.assert_close(compiled(x), run(x), rtol=0, atol=1e-12)
        ours, theirs = (gradients(way, x, *layer.parameters()) for way in (compiled, run))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # inside torch itself
def test_inductor_has_the_masks_of_eager() -> None:
    torch.compiler.reset()
    layer = address(thinned.StochasticDepth(branch(), 0.7))
    compiled = torch.compile(layer)
    for call in range(6):
        layer.call.fill_(call)
        torch.testing.assert_close(compiled(inputs()), layer(inputs()), rtol=0, atol=1e-12)


def test_transforms_mask_instead() -> None:
    """Members with keys of their own keep other samples each, so that rows can't be left out."""
    layer, x = address(thinned.StochasticDepth(branch(), 0.5)), inputs()

    def member(key: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"key": key}, x)

    keys = torch.arange(4)
    outs = torch.func.vmap(member)(keys)
    for out, key in zip(outs, keys, strict=True):
        torch.testing.assert_close(out, member(key), rtol=0, atol=1e-12)
    grad = torch.func.grad(lambda x: layer(x).square().sum())(x)
    torch.testing.assert_close(grad, gradients(layer, x.requires_grad_())[0], rtol=0, atol=1e-11)
    program = torch.export.export(layer, (inputs(),), strict=False)
    torch.testing.assert_close(program.module()(inputs()), layer(inputs()), rtol=0, atol=1e-12)


def test_second_derivatives() -> None:
    layer = address(thinned.StochasticDepth(branch(), 0.5))
    assert torch.autograd.gradgradcheck(layer, inputs(4).requires_grad_())


def test_a_recorded_pass_sees_the_site_and_those_of_its_branch() -> None:
    model = nn.Sequential(thinned.StochasticDepth(nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2)), 1.0))
    found = [(site.name, site.p, site.shape) for site in sites.find(model, inputs(9, torch.float32))]
    assert found == [("0.branch.1", 0.2, (9, 3, 6)), ("0", 1.0, (9, 3, 6))]
    assert model[0].rate is None


def test_members_of_an_ensemble_are_masked() -> None:
    """A member keeps or drops the branch as one: 1 of two values, the second where it is dropped."""
    model = nn.Sequential(thinned.StochasticDepth(nn.Linear(6, 6), 0.5), nn.Linear(6, 1))
    x = torch.randn(5, 6)
    outputs = thinned.ensemble.sample(model, x, members=32, seed=1).outputs
    values = torch.stack([model[1](x), model[1](x + 2 * model[0].branch(x))])
    nearest = (outputs - values[:, None]).abs().amin(0)
    torch.testing.assert_close(nearest, torch.zeros_like(nearest), rtol=0, atol=1e-5)
    assert outputs.std(0).min() > 0


def test_branches_that_mix_samples_are_refused() -> None:
    body = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(3))
    layer = thinned.StochasticDepth(body, 0.5)
    with pytest.raises(ValueError, match=r"must treat each sample by itself; 1 \(BatchNorm1d\) computes statistics"):
        layer(inputs(9, torch.float32))
    body[1].eval()  # frozen statistics belong to no batch
    assert layer(inputs(9, torch.float32)).shape == (9, 3, 6)
    with pytest.raises(RuntimeError, match=r"must keep the shape of its input, sample by sample; it returned \(3, 6\)"):
        functional.stochastic_depth(inputs(), lambda rows: rows.sum(0), 0.3, key=KEY)


def test_branches_that_overwrite_their_input_are_refused() -> None:
    """Masked, they would change the sum itself; here, they would change a copy of some rows of it."""
    body, x = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 6)).double(), inputs()
    with pytest.raises(RuntimeError, match=r"must not overwrite its input.*; it did in place; give its first"):
        functional.stochastic_depth(x, body, 0.5, key=KEY)
    assert torch.equal(x, inputs())
    body[0].inplace = False
    with torch.inference_mode():
        assert functional.stochastic_depth(x, body, 0.5, key=KEY).shape == x.shape


def test_a_rate_that_is_a_tensor_changes_without_a_new_layer() -> None:
    layer, x = address(thinned.StochasticDepth(nn.Identity(), 0.5)), torch.ones(1000, 1)
    for rate in (0.0, 0.25, 1.0):
        layer.rate = torch.tensor(rate, dtype=torch.float64)
        kept = masks.keep_mask((1000,), rate, KEY, CALL)
        expected = 1 + kept.float() * (philox.scale(rate) if rate < 1 else 0)
        torch.testing.assert_close(layer(x)[:, 0], expected)
