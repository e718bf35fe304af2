"""Exact properties of every layer against the NumPy specification."""

import copy
import math
import pickle

import pytest
import scipy.stats
import torch
from layer_cases import EVERY, KEY, SELECTING, Case, P, address, first
from torch import nn

import thinned
from thinned import layers, philox

TORCH_NAMES = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]
selecting = pytest.mark.parametrize("case", SELECTING, ids=lambda case: case.name)
every = pytest.mark.parametrize("name", EVERY)


@selecting
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 0.97, 1.0])
def test_which_units_share_a_decision_and_what_survives(case: Case, p: float) -> None:
    x = case.x()
    out = address(case.build(p))(x)
    kept = case.keep(p)
    assert torch.equal(out[kept], x[kept] * torch.tensor(philox.scale(p), dtype=x.dtype))
    assert (out[~kept] == 0).all()
    if case.shared and 0.1 < p < 0.9:
        spread = kept.double()
        for axis in case.shared:
            assert (spread == spread.narrow(axis, 0, 1)).all()


@selecting
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype_has_the_same_mask(case: Case, dtype: torch.dtype) -> None:
    x = case.x(dtype).abs() + 1
    out = address(case.build(P))(x)
    kept = case.keep(P)
    assert out.dtype == dtype
    wide = x if dtype.itemsize > 2 else x.float()
    assert torch.equal(out, torch.where(kept, (wide * philox.scale(P)).to(dtype), torch.zeros((), dtype=dtype)))


@selecting
def test_dropped_nan_and_infinity_become_zero(case: Case) -> None:
    out = address(case.build(P))(torch.full(tuple(case.shape), math.nan))
    kept = case.keep(P)
    assert (out[~kept] == 0).all()
    assert out[kept].isnan().all()


@selecting
def test_gradient_is_the_same_mask(case: Case) -> None:
    layer = address(case.build(P))
    assert torch.autograd.gradcheck(layer, case.x(torch.float64).requires_grad_())
    assert torch.autograd.gradgradcheck(layer, case.x(torch.float64).requires_grad_())


@selecting
def test_expected_value_equals_the_input(case: Case) -> None:
    """Share of survivors within a band that a right mask leaves in 1 of 10^6 tests."""
    calls = 60
    layer, x = address(case.build(P)), torch.ones(tuple(case.shape))
    decisions = kept = 0
    for call in range(calls):
        layer.call.fill_(call)
        out = layer(x)
        for axis in case.shared:
            out = out.narrow(axis, 0, 1)
        decisions, kept = decisions + out.numel(), kept + int((out != 0).sum())
    q = philox.threshold(P) / 65536
    low, high = scipy.stats.binom.ppf([5e-7, 1 - 5e-7], decisions, q)
    assert low <= kept <= high
    assert torch.tensor(philox.scale(P), dtype=torch.float32) == out[out != 0].max()  # and so E[out] = q·x/q = x


@every
def test_evaluation_is_the_identity_and_draws_nothing(name: str) -> None:
    build, inputs = EVERY[name]
    layer, x = build().eval(), inputs()
    state = torch.get_rng_state()
    out = first(layer(*x))
    assert torch.equal(torch.get_rng_state(), state)
    if name in {"EmbeddingDropout", "drop_connect"} or name.startswith("MultiheadAttention"):
        layer.p = 0.0
        assert torch.equal(out, first(layer(*x)))
    elif name == "DropoutAdd":
        assert torch.equal(out, x[1] + x[0])
    else:
        assert out is x[0]


@every
def test_address_rate_and_seed_are_honoured(name: str) -> None:
    build, inputs = EVERY[name]
    layer, x = build(), inputs()
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(first(layer(*x)))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    addressed = address(layer)
    state = torch.get_rng_state()
    out = first(addressed(*x))
    assert torch.equal(out, first(addressed(*x)))
    assert torch.equal(torch.get_rng_state(), state)
    site = next(m for m in addressed.modules() if isinstance(m, layers.Addressed))
    site.call = site.call + 1
    assert not torch.equal(out, first(addressed(*x)))
    site.call, site.rate = site.call - 1, torch.tensor(P, dtype=torch.float64)
    assert torch.allclose(out, first(addressed(*x)), atol=1e-6)
    site.rate.fill_(0.9)
    assert not torch.allclose(out, first(addressed(*x)))


@every
def test_half_precision_models_keep_their_rate(name: str) -> None:
    layer = address(EVERY[name][0]())
    site = next(m for m in layer.modules() if isinstance(m, layers.Addressed))
    site.rate = torch.tensor(0.1, dtype=torch.float64)
    layer.half()
    assert site.rate.dtype == torch.float64
    assert float(site.rate) == 0.1
    assert int(site.key) == KEY


@every
def test_copies_and_pickles_have_the_same_masks(name: str) -> None:
    build, inputs = EVERY[name]
    layer, x = address(build()), inputs()
    expected = first(layer(*x))
    assert torch.equal(first(copy.deepcopy(layer)(*x)), expected)
    if name != "drop_connect":  # torch refuses to pickle any parametrised module
        assert torch.equal(first(pickle.loads(pickle.dumps(layer))(*x)), expected)
    assert not any("key" in k or "rate" in k or "call" in k for k in layer.state_dict())


@pytest.mark.parametrize("name", TORCH_NAMES)
@pytest.mark.parametrize("args", [(), (0.2,), (1,), (0.3, True)])
def test_repr_and_attributes_are_those_of_torch(name: str, args: tuple[float, ...]) -> None:
    ours, theirs = getattr(thinned, name)(*args), getattr(nn, name)(*args)
    assert repr(ours) == repr(theirs)
    assert (ours.p, ours.inplace) == (theirs.p, theirs.inplace)
    assert ours.state_dict() == theirs.state_dict() == {}


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("name", [n for n in thinned.layers.__all__ if n[0].isupper() and n != "Addressed"])
def test_rates_outside_the_interval_are_refused(name: str, p: float) -> None:
    build = {
        "EmbeddingDropout": lambda: thinned.EmbeddingDropout(3, 2, p=p),
        "LayerDrop": lambda: thinned.LayerDrop(nn.Identity(), p),
        "MultiheadAttention": lambda: thinned.MultiheadAttention(4, 2, dropout=p),
        "StochasticDepth": lambda: thinned.StochasticDepth(nn.Identity(), p),
        "ThinnedAttention": lambda: thinned.ThinnedAttention(4, 2, p),
        "ThinnedFeedForward": lambda: thinned.ThinnedFeedForward(2, 3, p),
        "ThinnedMLP": lambda: thinned.ThinnedMLP(thinned.BatchDropout(p), nn.Linear(2, 2)),
    }.get(name, lambda: getattr(thinned, name)(p))
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]; got p="):
        build()


def test_inplace_overwrites() -> None:
    for build in (
        thinned.Dropout,
        thinned.Dropout1d,
        thinned.BatchDropout,
        thinned.LockedDropout,
        thinned.GaussianDropout,
    ):
        x = torch.ones(3, 4, 5)
        assert build(0.5, inplace=True)(x) is x
    x = torch.ones(2, 3, 9, 9)
    assert thinned.DropBlock2d(0.5, 3, inplace=True)(x) is x


# --- layers of another form ---------------------------------------------------------------------------------------
