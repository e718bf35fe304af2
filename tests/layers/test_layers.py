"""Exact properties of every layer against the NumPy specification."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from layer_cases import CALL, EVERY, KEY, SELECTING, Case, P, address, first
from torch import nn

import thinned
from thinned import functional, layers, philox

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
    assert caught[0].filename.endswith(("module.py", "test_layers.py", "spatial.py"))
    with pytest.warns(UserWarning, match="dropout2d: Received") as caught:
        functional.dropout2d(torch.ones(2, 3, 4))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("name", [n for n in thinned.layers.__all__ if n[0].isupper() and n != "Addressed"])
def test_rates_outside_the_interval_are_refused(name: str, p: float) -> None:
    build = {
        "EmbeddingDropout": lambda: thinned.EmbeddingDropout(3, 2, p=p),
        "MultiheadAttention": lambda: thinned.MultiheadAttention(4, 2, dropout=p),
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


@pytest.mark.parametrize("feature", [False, True])
def test_alpha_dropout_is_torchs_at_our_mask(feature: bool) -> None:
    p = 0.25  # exact in 1/65,536
    layer = address((thinned.FeatureAlphaDropout if feature else thinned.AlphaDropout)(p))
    x = torch.randn(5, 40, 3, dtype=torch.float64)
    case = Case("", layers.Dropout, x.shape, (2,) if feature else ())
    alpha = -1.7580993408473766
    a = (0.75 * (1 + p * alpha**2)) ** -0.5
    expected = torch.where(case.keep(p), a * x, a * alpha) - a * alpha * p
    assert torch.allclose(layer(x), expected, atol=1e-12)
    assert torch.autograd.gradcheck(layer, x[:2, :4].clone().requires_grad_())


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    """Of standard normals; 5 standard errors is 1 false failure in 10^6."""
    n = 400_000
    out = address(thinned.AlphaDropout(P))(
        torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    )
    assert abs(out.mean()) < 5 * out.std() / n**0.5
    assert abs(out.var() - 1) < 5 * ((out - out.mean()) ** 2).std() / n**0.5


def test_gaussian_dropout_has_dropouts_mean_and_variance() -> None:
    n = 400_000
    layer = address(thinned.GaussianDropout(P))
    out = layer(torch.ones(n, dtype=torch.double))
    q = philox.threshold(P) / 65536
    assert abs(out.mean() - 1) < 5 * out.std() / n**0.5
    assert abs(out.var() - (1 - q) / q) < 5 * ((out - out.mean()) ** 2).std() / n**0.5
    assert torch.autograd.gradcheck(layer, torch.randn(4, 5, dtype=torch.double, requires_grad=True))
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\)"):
        thinned.GaussianDropout(1.0)


def test_dropout_add_is_the_sum() -> None:
    x, residual = torch.randn(6, 50), torch.randn(6, 50)
    dropped = address(thinned.Dropout(P))(x)
    layer = address(thinned.DropoutAdd(P))
    assert torch.equal(layer(x, residual), residual + dropped)
    assert torch.equal(layer.eval()(x, residual), residual + x)
    wide = [torch.randn(3, 4, dtype=torch.double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(layer.train(), wide)


def test_drop_path_without_scaling() -> None:
    x = torch.randn(200, 3, 2)
    out = address(thinned.DropPath(P, scale_by_keep=False))(x)
    kept = torch.from_numpy(philox.keep(np.arange(200), P, KEY, CALL))
    assert torch.equal(out[kept], x[kept])
    assert (out[~kept] == 0).all()
    assert repr(thinned.DropPath(0.123)) == "DropPath(drop_prob=0.123)"


def test_word_dropout_of_token_numbers() -> None:
    tokens = torch.arange(2, 402).view(20, 20)
    tokens[:, -3:] = 0
    kept = torch.from_numpy(philox.keep(np.arange(400).reshape(20, 20), P, KEY, CALL))
    assert torch.equal(address(thinned.WordDropout(P, unk_index=1))(tokens), torch.where(kept, tokens, 1))
    padded = address(thinned.WordDropout(P, unk_index=1, padding_idx=0))(tokens)
    assert (padded[:, -3:] == 0).all()
    assert torch.equal(padded[:, :-3], torch.where(kept, tokens, 1)[:, :-3])
    with pytest.raises(ValueError, match="token numbers need unk_index"):
        thinned.WordDropout(P)(tokens)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_embedding_drops_rows_of_the_table(dtype: torch.dtype) -> None:
    layer = address(thinned.EmbeddingDropout(300, 4, padding_idx=0, p=P)).to(dtype)
    words = torch.randint(0, 300, (50, 20))
    kept = torch.from_numpy(philox.keep(np.arange(300), P, KEY, CALL))
    wide = layer.weight if dtype.itemsize > 2 else layer.weight.float()
    table = torch.where(kept[:, None], (wide * philox.scale(P)).to(dtype), torch.zeros((), dtype=dtype))
    assert torch.equal(layer(words), table[words])


def test_embedding_is_torchs_but_for_the_rows() -> None:
    layer = thinned.EmbeddingDropout(30, 4, padding_idx=0, p=P)
    plain = nn.Embedding(30, 4, padding_idx=0)
    plain.load_state_dict(layer.state_dict())
    words = torch.randint(0, 30, (5, 6))
    assert torch.equal(layer.eval()(words), plain(words))
    layer = address(layer.train().double())
    check = lambda weight: torch.func.functional_call(layer, {"weight": weight}, (words[:2],))  # noqa: E731
    layer.padding_idx = None  # torch withholds the gradient of the padding row, so that gradcheck would fail
    assert torch.autograd.gradcheck(check, layer.weight.detach().requires_grad_())
    pretrained = thinned.EmbeddingDropout.from_pretrained(plain.weight)
    assert torch.equal(pretrained.weight, plain.weight)


@pytest.mark.parametrize("block", [1, 2, 3, 4])
@pytest.mark.parametrize("coupled", [True, False])
def test_drop_block_drops_blocks_around_its_seeds(block: int, coupled: bool) -> None:
    x = torch.randn(6, 3, 9, 8)
    out = address(thinned.DropBlock2d(P, block, couple_channels=coupled))(x)
    gamma = P * 9 * 8 / block**2 / ((9 - block + 1) * (8 - block + 1))
    shape = (6, 1 if coupled else 3, 9, 8)
    seeds = ~philox.keep(np.arange(math.prod(shape)).reshape(shape), gamma, KEY, CALL)
    dropped = np.zeros_like(seeds)
    for n, c, i, j in zip(*np.nonzero(seeds), strict=True):  # even windows reach further up and left, as timm's
        up, down = block // 2, (block + 1) // 2
        dropped[n, c, max(i - up, 0) : i + down, max(j - up, 0) : j + down] = True
    kept = torch.from_numpy(~dropped)
    scale = torch.tensor(kept.numel() / int(kept.sum()), dtype=torch.float32)
    assert torch.equal(out, torch.where(kept, x * scale, torch.zeros(())))


def test_drop_block_drops_about_its_share() -> None:
    """The share dropped is that of the seeds' density; 5 standard errors is 1 false failure in 10^6."""
    layer = address(thinned.DropBlock2d(0.1, 7, scale_by_keep=False))
    shares = []
    for call in range(60):
        layer.call.fill_(call)
        shares.append(float((layer(torch.ones(8, 1, 56, 56)) == 0).double().mean()))
    reach = np.convolve(np.ones(56), np.ones(7), mode="same")  # places whose block reaches a position
    gamma = 1 - philox.threshold(0.1 * 56**2 / 7**2 / 50**2) / 65536
    expected = (1 - (1 - gamma) ** np.outer(reach, reach)).mean()
    assert abs(np.mean(shares) - expected) < 5 * np.std(shares) / 60**0.5
    assert 0.09 < expected < 0.12
    with pytest.raises(RuntimeError, match=r"shape \(N, C, H, W\)"):
        layer(torch.ones(3, 4))
    x = torch.randn(1, 2, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(address(thinned.DropBlock2d(0.3, 2)), x)


def test_drop_connect_masks_the_weight_and_moves_nothing_else() -> None:
    linear = nn.Linear(12, 9)
    plain = copy.deepcopy(linear)
    address(thinned.drop_connect(linear, p=P))
    case = Case("", layers.Dropout, (9, 12), ())
    expected = torch.where(case.keep(P), plain.weight * philox.scale(P), 0)
    assert torch.equal(linear.weight, expected)
    x = torch.randn(4, 12)
    assert torch.equal(linear(x), F.linear(x, expected, plain.bias))
    linear.eval()
    assert torch.equal(linear(x), plain(x))
    nn.utils.parametrize.remove_parametrizations(linear, "weight")
    assert torch.equal(linear.weight, plain.weight)


def test_drop_connect_inside_an_lstm() -> None:
    lstm = nn.LSTM(5, 6)
    plain = copy.deepcopy(lstm)
    address(thinned.drop_connect(lstm, "weight_hh_l0", p=P))
    x = torch.randn(7, 2, 5)
    with torch.no_grad():
        plain.weight_hh_l0.copy_(lstm.weight_hh_l0)
    assert (plain.weight_hh_l0 == 0).any()
    assert torch.allclose(lstm(x)[0], plain(x)[0], atol=1e-6)
    lstm(x)[0].sum().backward()
    assert lstm.parametrizations["weight_hh_l0"].original.grad.abs().sum() > 0


def test_concrete_dropout_is_dropout_at_temperature_zero() -> None:
    """At a temperature of 0 the relaxed mask is the mask itself, at the same address."""
    p, x = 0.25, torch.randn(6, 500)  # 0.25 is exact in 1/65,536
    hard = address(thinned.Dropout(p))(x)
    layer = address(thinned.ConcreteDropout(p, temperature=1e-7))
    assert torch.allclose(layer(x), hard, atol=1e-5)
    shared = address(thinned.ConcreteDropout(p, temperature=1e-7, shared=(1,)))
    assert ((shared(x).abs() < 1e-4).all(1) | (shared(x).abs() > 0).all(1)).all()


def test_concrete_dropout_has_gradients_in_x_and_p() -> None:
    layer = address(thinned.ConcreteDropout(P).double())
    call = lambda x, logit: torch.func.functional_call(layer, {"logit": logit}, (x,))  # noqa: E731
    inputs = torch.randn(3, 4, dtype=torch.double, requires_grad=True), layer.logit.detach().requires_grad_()
    assert torch.autograd.gradcheck(call, inputs)
    linear = nn.Linear(4, 2).double()
    assert torch.autograd.gradcheck(lambda logit: layer.regulariser(linear.weight, 10), layer.logit)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        thinned.ConcreteDropout(0.0)


def test_concrete_dropout_learns_less_noise_where_there_is_more_data() -> None:
    """The learned rate falls with the number of rows (Gal et al. 2017, fig. 2)."""
    rates = []
    for rows in (20, 400):
        torch.manual_seed(0)
        x = torch.randn(rows, 6)
        y = x.sum(1, keepdim=True)
        site, linear = address(thinned.ConcreteDropout(0.3)), nn.Linear(6, 1)
        optimizer = torch.optim.Adam([*site.parameters(), *linear.parameters()], lr=0.02)
        for step in range(120):
            site.call.fill_(step)
            loss = 0.5 * (linear(site(x)) - y).square().mean() + site.regulariser(linear.weight, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rates.append(float(site.p.detach()))
    assert rates[1] < rates[0] < 0.3
