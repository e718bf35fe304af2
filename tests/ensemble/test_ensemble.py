"""thinned.ensemble: against plain loops, for every kind of site, and leaving the model as it was."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thinned
from thinned import ensemble, masks, philox
from thinned.ensemble.additive_head import SubsetSums
from thinned.ensemble.forward import ForwardPasses
from thinned.ensemble.mask_sources import SampledMask
from thinned.ensemble.sampling import member_keys
from thinned.errors import InputError


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Functional(nn.Module):
    """Functional sites, one of them only asked for in training, batch norm as a module and as a function."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(6, 8), nn.Linear(8, 3), nn.BatchNorm1d(8)

    def forward(self, x, scale=1.0):
        x = F.dropout(self.norm(self.a(x)).relu(), 0.3, self.training)
        x = F.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=self.training)
        if self.training:
            x = F.dropout(x, 0.2)
        return {"out": self.b(x) * scale}


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.line = nn.Conv2d(3, 4, 3), nn.Dropout2d(0.5), nn.Linear(4, 2)
        self.alpha, self.feature = nn.AlphaDropout(0.2), nn.FeatureAlphaDropout(0.1)

    def forward(self, x):
        return self.line(self.alpha(self.feature(self.drop(self.conv(x))).mean((2, 3))))


class Attention(nn.Module):
    def __init__(self, need_weights):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x):
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


class Products(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.2 if self.training else 0.0)


class Recurrent(nn.Module):
    def __init__(self, layer, **options):
        super().__init__()
        self.layer = layer(6, 7, 3, dropout=0.4, **options)

    def forward(self, x):
        return self.layer(x)[0]


class Ours(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.words = thinned.EmbeddingDropout(10, 6, p=0.3), thinned.WordDropout(0.3, unk_index=0)
        self.path, self.add, self.line = thinned.DropPath(0.3), thinned.DropoutAdd(0.2), nn.Linear(6, 6)
        thinned.drop_connect(self.line, p=0.3)
        self.noise = nn.Sequential(thinned.GaussianDropout(0.2), thinned.ConcreteDropout(0.2), thinned.Dropout(0.1))

    def forward(self, x):
        h = self.embed(self.words(x)).mean(1)
        return self.noise(self.add(self.path(self.line(h)), h))


def mlp(p=0.5, hidden=8, tail=()):
    return nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Dropout(p), nn.Linear(hidden, 3), *tail)


def encoder_layer(**options):
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, **options)


def converted():
    model = encoder_layer(batch_first=True)
    thinned.convert(model)
    return model


ROWS, SEQUENCES = torch.randn(5, 6), torch.randn(4, 5, 8)
MODELS = {
    "linear": (mlp, ROWS),
    "batch norm, in place": (
        lambda: nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(True), nn.Dropout(0.5, True), nn.Linear(8, 3)
        ),
        ROWS,
    ),
    "functional, keywords, mapping": (Functional, {"x": ROWS, "scale": 2.0}),
    "channels, alpha": (Convolutional, torch.randn(4, 3, 8, 8)),
    "transformer layer": (lambda: encoder_layer(batch_first=True), SEQUENCES),
    "transformer layer, time first": (encoder_layer, torch.randn(5, 4, 8)),
    "transformer, padded": (
        lambda: nn.TransformerEncoder(encoder_layer(batch_first=True), 2),
        {"src": SEQUENCES, "src_key_padding_mask": torch.arange(5).expand(4, 5) > 3},
    ),
    "attention with weights": (lambda: Attention(True), SEQUENCES),
    "attention without": (lambda: Attention(False), SEQUENCES),
    "scaled dot product": (Products, torch.randn(4, 2, 5, 8)),
    "lstm": (lambda: Recurrent(nn.LSTM, batch_first=True), torch.randn(4, 5, 6)),
    "lstm, time first": (lambda: Recurrent(nn.LSTM), torch.randn(5, 4, 6)),
    "gru": (lambda: Recurrent(nn.GRU, batch_first=True, bidirectional=True), torch.randn(4, 5, 6)),
    "our layers": (Ours, torch.randint(10, (4, 5))),
    "converted": (converted, SEQUENCES),
}


def loop(model, x, members, **options):
    """Members one after the other."""
    passes = ForwardPasses(model, x, options.get("sites"), options.get("select"), options.get("batch_axis"))
    axes = {site.name: site.batch_axis for site in passes.sites}
    keys = [member_keys(list(axes), 0, m, m + 1) for m in range(members)]
    return torch.stack([passes.run({n: SampledMask(axes[n], k[0]) for n, k in key.items()}) for key in keys])


def everything(model):
    flags = {name: module.training for name, module in model.named_modules()}
    return flags, {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()


def assert_same(before, after):
    assert before[0] == after[0]
    assert all(torch.equal(before[1][name], after[1][name]) for name in before[1])
    assert torch.equal(before[2], after[2])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [False, True])
def test_members_in_one_batch_equal_the_loop_and_the_model_stays(name, training):
    build, x = MODELS[name]
    model = build().train(training)
    before = everything(model)
    drawn = ensemble.sample(model, x, 12)
    assert_same(before, everything(model))
    assert drawn.loop == ""
    assert drawn.std.max() > 1e-3
    torch.testing.assert_close(drawn.outputs, loop(model, x, 12), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [n for n in MODELS if n != "our layers"])  # a concrete mask is of its row
def test_a_member_is_one_network_however_rows_are_batched(name):
    build, x = MODELS[name]
    model = build().eval()
    axis = 1 if "time first" in name else 0
    all_rows, keywords = ensemble.sample(model, x, 6).outputs, isinstance(x, dict)

    def one(row):
        tensors = {k: v[row : row + 1] if isinstance(v, torch.Tensor) else v for k, v in x.items()} if keywords else {}
        part = tensors if keywords else x.narrow(axis, row, 1)
        return ensemble.sample(model, part, 6, batch_axis=axis).outputs

    for row in range(3):
        torch.testing.assert_close(one(row), all_rows.narrow(axis + 1, row, 1), atol=1e-5, rtol=1e-5)


def test_masks_are_those_of_the_address():
    model = nn.Sequential(nn.Dropout(0.3), nn.Identity())
    outputs = ensemble.sample(model, torch.ones(2, 7), 5, seed=3).outputs
    for member in range(5):
        key = philox.fold_in(philox.fold_in(3, philox.site_number("0")), member)
        kept = masks.keep_mask((7,), 0.3, key)
        assert torch.equal(outputs[member], (kept * torch.tensor(philox.scale(0.3), dtype=torch.float32)).expand(2, 7))


def test_fold_in_each_is_fold_in():
    numbers = [0, 1, 17, 2**32, 2**64 - 1]
    assert philox.fold_in_each(5, numbers).tolist() == [philox.fold_in(5, n) for n in numbers]
    assert philox.fold_in_each(5, numbers).dtype == np.uint64


def test_an_addressed_model_has_the_same_members_and_its_clock_stands():
    model = mlp().train()
    before = ensemble.sample(model, ROWS, 5).outputs
    thinned.address(model, seed=9)
    model(ROWS)
    assert torch.equal(ensemble.sample(model, ROWS, 5).outputs, before)
    assert int(model.thinned_clock) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_model_has_the_same_members():
    model = mlp()
    expected = ensemble.sample(model, ROWS, 5).outputs
    assert torch.equal(ensemble.sample(torch.compile(model), ROWS, 5).outputs, expected)


def test_half_precision():
    model = mlp().bfloat16()
    every, drawn = (f(model, ROWS.bfloat16(), output="logits") for f in (ensemble.enumerate, ensemble.sample))
    assert every.mean.dtype == drawn.mean.dtype == torch.bfloat16
    wide = ensemble.enumerate(model.double(), ROWS.bfloat16().double(), output="logits")
    # an output has a few roundings to 8 bits: 2^-8 relative each, of logits below 2
    torch.testing.assert_close(every.mean.double(), wide.mean, atol=2**-6, rtol=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_transformers(attention):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    config._attn_implementation = attention
    model = transformers.BertForSequenceClassification(config).eval()
    x = {"input_ids": torch.randint(50, (3, 7)), "attention_mask": torch.ones(3, 7, dtype=torch.long)}
    before = everything(model)
    drawn = ensemble.sample(model, x, 6)
    assert_same(before, everything(model))
    assert drawn.loop == ""
    assert drawn.std.max() > 1e-3
    torch.testing.assert_close(drawn.outputs, loop(model, x, 6), atol=1e-5, rtol=1e-4)
    hidden = ensemble.sample(model.bert, x, 3, select=lambda out: out.last_hidden_state)
    assert hidden.mean.shape == (3, 7, 16)


class Wilful(nn.Module):
    """Cannot be batched: its control flow depends on data."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(x)
        return x + 1 if x.sum().item() > 0 else x


def test_a_model_that_cannot_be_batched_is_looped_over_and_says_so():
    model = Wilful()
    drawn = ensemble.sample(model, ROWS, 6)
    assert ".item()" in drawn.loop
    assert torch.equal(drawn.outputs, loop(model, ROWS, 6))


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.fail = nn.BatchNorm1d(6), nn.Dropout(0.5), False

    def forward(self, x):
        x = self.drop(self.norm(x))
        if self.fail and not self.norm.training:
            raise KeyError("not today")
        return x


def test_an_error_in_a_pass_leaves_the_model_as_it_was():
    model = Failing().train()
    ensemble.sample(model, ROWS, 3)
    model.fail = True
    before = everything(model)
    with pytest.raises(KeyError, match="not today"):
        ensemble.sample(model, ROWS, 3)
    assert_same(before, everything(model))
    model.fail = False
    assert ensemble.sample(model, ROWS, 3).std.max() > 0


def test_what_was_found_is_looked_for_again_when_the_model_changes():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.more = nn.Dropout(0.5), False

        def forward(self, x):
            return F.dropout(self.drop(x), 0.5, self.training and self.more)

    model = Optional()
    assert len(ForwardPasses(model, ROWS, None, None, None).sites) == 1
    model.more = True
    assert len(ForwardPasses(model, ROWS, None, None, None).sites) == 2
    model.drop.p = 0.0
    assert [site.name for site in ForwardPasses(model, ROWS, None, None, None).sites] == [""]


def test_stopping_when_the_error_is_small_enough():
    model = mlp()
    drawn = ensemble.sample(model, ROWS, 5000, until=0.05)
    assert 16 < drawn.members < 5000
    assert drawn.members % 16 == 0
    assert drawn.standard_error.max() <= 0.05
    sooner = ensemble.sample(model, ROWS, drawn.members - 16)
    assert sooner.standard_error.max() > 0.05
    torch.testing.assert_close(drawn.outputs[:-16], sooner.outputs)
    torch.testing.assert_close(drawn.std, drawn.outputs.std(0))
    torch.testing.assert_close(drawn.mean, drawn.outputs.mean(0))


def test_time_and_batch_of_one_size_must_be_told_apart():
    with pytest.raises(InputError, match="batch_axis"):
        ensemble.sample(Recurrent(nn.LSTM), torch.randn(4, 4, 6), 2)
    assert ForwardPasses(Recurrent(nn.LSTM), torch.randn(4, 4, 6), None, None, 1).sites[0].batch_axis == 1


def every_mask(units):
    return [torch.tensor(bits[::-1]).bool() for bits in itertools.product([0, 1], repeat=units)]


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("tail", [(), (nn.Sigmoid(),), (nn.Linear(3, 2), nn.Tanh())], ids=["none", "sigmoid", "layers"])
@pytest.mark.parametrize("chunk", [1 << 22, 50], ids=["whole", "chunks"])
def test_enumeration_equals_the_loop(monkeypatch, p, tail, chunk):
    monkeypatch.setattr("thinned.ensemble.enumeration._CHUNK", chunk)
    model = mlp(p, hidden=6, tail=tail).double()
    x = ROWS.double()
    outputs, chances = [], []
    with torch.no_grad():
        for kept in every_mask(6):
            hidden = model[1](model[0](x)) * kept / (1 - p)
            outputs.append(model[3:](hidden))
            chances.append(p ** int((~kept).sum()) * (1 - p) ** int(kept.sum()))
    outputs, chances = torch.stack(outputs), torch.tensor(chances, dtype=torch.float64)
    for sites, forced in ((None, False), (None, True)):
        with monkeypatch.context() as patch:
            if forced:
                patch.setattr("thinned.ensemble.additive_head.AdditiveHead.sums", lambda self, sources: None)
            every = ensemble.enumerate(model, x, sites=sites)
        assert every.by == ("passes" if forced else "doubling")
        assert every.count == 64
        torch.testing.assert_close(every.outputs, outputs, atol=1e-12, rtol=0)
        torch.testing.assert_close(every.probabilities, chances, atol=1e-15, rtol=0)
        mean = (chances[:, None, None] * outputs).sum(0)
        torch.testing.assert_close(every.mean, mean, atol=1e-12, rtol=0)
        variance = (chances[:, None, None] * (outputs - mean) ** 2).sum(0)
        torch.testing.assert_close(every.std, variance.sqrt(), atol=1e-10, rtol=0)
        assert torch.equal(every.minimum, every.outputs.amin(0))
        assert torch.equal(every.maximum, every.outputs.amax(0))
        assert torch.equal(every.masks()["2"], torch.stack(every_mask(6))[:, None])
        assert every.masks(5, 7)["2"].tolist() == every.masks()["2"][5:7].tolist()


@pytest.mark.parametrize(
    ("kind", "columns"), [("logits", 1), ("logits", 3), ("probabilities", 1), ("probabilities", 3)]
)
def test_geometric_means(kind, columns):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.4), nn.Linear(5, columns)).double()
    if kind == "probabilities":
        model.append(nn.Sigmoid() if columns == 1 else nn.Softmax(-1))
    every = ensemble.enumerate(model, ROWS.double(), output=kind)
    p = every.outputs
    if kind == "logits":
        p = p.sigmoid() if columns == 1 else p.softmax(-1)
    weights = every.probabilities[:, None, None]
    torch.testing.assert_close(every.mean, (weights * p).sum(0), atol=1e-12, rtol=0)
    both = torch.cat([1 - p, p], -1) if columns == 1 else p
    products = (weights * both.log()).sum(0).exp()
    expected = (products / products.sum(-1, keepdim=True))[:, -columns:]
    torch.testing.assert_close(every.geometric_mean, expected, atol=1e-12, rtol=0)
    # Baldi & Sadowski 2013: with nothing but a logistic unit behind the dropout, weight scaling is that very mean
    torch.testing.assert_close(every.weight_scaled, expected, atol=1e-12, rtol=0)


def test_several_sites_and_channels_are_enumerated_by_passes():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.Dropout2d(0.2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.4), nn.Linear(3, 2)
    )
    x = torch.randn(4, 1, 2, 2)
    every = ensemble.enumerate(model, x)
    assert (every.by, every.shapes, every.count) == ("passes", {"1": (1, 3, 1, 1), "4": (1, 3)}, 64)
    assert float(every.probabilities.sum()) == pytest.approx(1, abs=1e-12)
    for number, (second, first) in enumerate(itertools.product(every_mask(3), repeat=2)):
        hidden = (model[0](x) * first[:, None, None] / 0.8).relu().flatten(1)
        torch.testing.assert_close(every.outputs[number], model[5](hidden * second / 0.6), atol=1e-6, rtol=1e-5)
    assert ensemble.enumerate(model, x, sites=["4"]).count == 8


@pytest.mark.parametrize("name", ["channels, alpha", "attention with weights", "scaled dot product"])
def test_the_mean_of_a_sample_goes_to_that_of_the_enumeration(name):
    """False-fail rate below 1e-4: 5 standard errors for 30 numbers, of fixed seeds."""
    build, x = MODELS[name]
    model, x = build().eval(), x[:1, ..., :2, :] if x.ndim == 4 and name.startswith("scaled") else x[:1]
    if name.startswith("scaled"):
        x = x[:, :1]
    if name.startswith("attention"):
        x = x[:, :2]
    every, drawn = ensemble.enumerate(model, x), ensemble.sample(model, x, 2000)
    assert ((drawn.mean - every.mean).abs() <= 5 * drawn.standard_error + 1e-6).all()


def test_the_sampling_error_falls_as_one_over_the_root_of_members():
    """The slope's standard deviation is below 0.02 with 64 groups of 256 members: 0.08 fails with chance 1e-4."""
    model = mlp(hidden=10)
    mean, outputs = ensemble.enumerate(model, ROWS).mean, ensemble.sample(model, ROWS, 1 << 14).outputs
    sizes = [4, 16, 64, 256]
    errors = [float((outputs.reshape(-1, n, 5, 3).mean(1) - mean).square().mean().sqrt()) for n in sizes]
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.08)


def test_quantiles_by_halves_are_those_of_all_outputs(monkeypatch):
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.3), nn.Linear(9, 1)).double()
    kept = ensemble.enumerate(model, ROWS.double(), output="logits")
    monkeypatch.setattr("thinned.ensemble.enumeration._KEPT", 0)
    summed = ensemble.enumerate(model, ROWS.double(), output="logits")
    assert summed.outputs is None
    for q in (0.0, 0.05, 0.5, 0.9, 1.0):
        torch.testing.assert_close(summed.quantile(q), kept.quantile(q), atol=1e-12, rtol=0)
    with pytest.raises(InputError, match="q must lie"):
        kept.quantile(1.5)
    softmax = ensemble.enumerate(mlp(), ROWS, output="logits")
    with pytest.raises(InputError, match="quantiles need outputs"):
        softmax.quantile(0.5)


def test_doubling_in_chunks_bounds_memory():
    sums = SubsetSums.from_layer(nn.Linear(9, 2).double(), torch.randn(3, 9).double(), 0.5)
    [whole], chunks = sums.chunks(1 << 20), list(sums.chunks(100))
    assert {len(chunk) for chunk in chunks} == {16}
    torch.testing.assert_close(torch.cat(chunks), whole)
    assert len(whole) == 512


def test_too_many_are_refused_with_count_and_remedy():
    wide = nn.Sequential(nn.Dropout(0.2), nn.Linear(60, 4))
    with pytest.raises(ensemble.TooManyError, match=r"2\^60 = 1,152,921,504,606,846,976 .*sample"):
        ensemble.enumerate(wide, torch.ones(1, 60))
    with pytest.raises(ensemble.TooManyError, match="at most 4 "):
        ensemble.enumerate(mlp(), ROWS, limit=4)
    with pytest.raises(InputError, match="multiplies by noise"):
        ensemble.enumerate(nn.Sequential(thinned.GaussianDropout(0.2), nn.Linear(6, 1)), ROWS)
    with pytest.raises(InputError, match="this one has none"):
        ensemble.enumerate(nn.Linear(6, 1), ROWS)
    with pytest.raises(InputError, match="choose from 2"):
        ensemble.sample(mlp(), ROWS, sites=["3"])
    with pytest.raises(InputError, match="at least 2"):
        ensemble.sample(mlp(), ROWS, 1)
    with pytest.raises(InputError, match="output must be one of"):
        ensemble.sample(mlp(), ROWS, output="logit")
    with pytest.raises(InputError, match="select="):
        ensemble.sample(nn.LSTM(6, 7, 2, dropout=0.5, batch_first=True), torch.randn(4, 5, 6), 2)
    with pytest.raises(TypeError, match="must be a torch"):
        ensemble.sample(lambda x: x, ROWS)


def test_always_active_dropout_is_off_where_it_is_not_chosen():
    class Always(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return F.dropout(self.drop(x), 0.5)  # forgets self.training

    model = Always().eval()
    every = ensemble.enumerate(model, torch.ones(2, 3), sites=["drop"])
    assert torch.equal(every.weight_scaled, torch.ones(2, 3))
    assert every.outputs.unique().tolist() == [0, 2]
    assert ensemble.enumerate(model, torch.ones(2, 3)).count == 64


class Block(nn.Module):
    """Channels with batch norm in between, and a unit that two look at."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu, self.drop = (
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            nn.Dropout2d(0.5),
        )
        self.conv2, self.line, self.drop2 = nn.Conv2d(8, 4, 3), nn.Linear(4, 4), thinned.Dropout(0.5)
        self.out, self.other = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv2(self.drop(self.relu(self.norm(self.conv(x))))).mean((2, 3))
        x = self.drop2(torch.relu(self.line(x)) + x)
        return self.out(x) + self.other(x)


@pytest.mark.parametrize("member", [0, 17])
def test_a_sub_network_of_its_own_equals_the_masked_one(member):
    deep = nn.Sequential(
        *(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(True), nn.Dropout(0.5, True)),
        *(nn.Linear(16, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 2)),
    )
    for model, x in ((deep, ROWS), (Block(), torch.randn(2, 3, 8, 8))):
        model.eval()
        for norm in (m for m in model.modules() if hasattr(m, "running_mean")):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        before = everything(model)
        small = ensemble.subnetwork(model, (5, member), x)
        assert_same(before, everything(model))
        masked = ensemble.sample(model, x, member + 2, seed=5).outputs[member]
        torch.testing.assert_close(small(x), masked, atol=1e-5, rtol=1e-5)
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
        assert not any(isinstance(m, nn.modules.dropout._DropoutNd | thinned.Dropout) for m in small.modules())
    assert isinstance(small.drop, nn.Identity)
    assert small.conv.out_channels == small.norm.num_features == small.conv2.in_channels < 8
    assert small.line.out_features == 4  # its sum with x is looked at as a whole
    assert small.out.in_features == small.other.in_features < 4


def test_every_sub_network_of_its_own_equals_the_enumeration():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 2))
    every = ensemble.enumerate(model, ROWS)
    for number in range(16):
        mask = {name: value[0] for name, value in every.masks(number, number + 1).items()}
        torch.testing.assert_close(ensemble.subnetwork(model, mask)(ROWS), every.outputs[number], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.3)), "go into the output"),
        (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.3), nn.Softmax(-1), nn.Linear(4, 1)), "go into Softmax"),
        (Functional(), "kind functional"),
    ],
)
def test_what_cannot_be_made_smaller_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        ensemble.subnetwork(model, 0, ROWS)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (-1, "a member's number must be at least 0; got -1"),
        ({"1": torch.ones(4)}, "there must be a mask for every site; there is none for 3"),
        ({"1": torch.ones(5), "3": torch.ones(4)}, "1 has 4; got 5"),
    ],
)
def test_an_address_of_nothing_is_one_sentence(address, message):
    model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.3), nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, 1))
    with pytest.raises(InputError, match=message):
        ensemble.subnetwork(model, address)


def test_the_gap_is_nothing_without_a_nonlinearity_and_something_with_one():
    x = ROWS.double()
    layers = [nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 4), nn.Dropout(0.2), nn.Linear(4, 1)]
    linear = nn.Sequential(*layers).double()
    # at most 8 decisions, each a product: 1e-14 is 100 roundings of numbers about 1
    assert ensemble.gap(linear, x).gap.abs().max() < 1e-14
    logistic = ensemble.gap(linear, x, output="logits")
    assert logistic.exact
    assert logistic.geometric.abs().max() < 1e-14
    assert logistic.gap.abs().max() > 1e-4
    bent = ensemble.gap(nn.Sequential(*layers[:3], nn.ReLU(), *layers[3:]).double(), x)
    assert bent.gap.abs().max() > 1e-4
    assert bent.geometric is None


def test_a_sampled_gap_has_a_standard_error_that_holds_the_exact_one():
    """Of 5 numbers, one is farther off than 5 standard errors with chance 3e-6."""
    model = nn.Sequential(nn.Linear(6, 12), nn.Dropout(0.5), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 1))
    exact = ensemble.gap(model, ROWS, output="logits")
    from thinned.ensemble.weight_scaling import _sampled_gap

    drawn = _sampled_gap(model, ROWS, 2000, "logits", 0, None, None, None)
    assert not drawn.exact
    assert ((drawn.gap - exact.gap).abs() < 5 * drawn.standard_error).all()
    torch.testing.assert_close(drawn.weight_scaled, exact.weight_scaled)
    wide = ensemble.gap(mlp(hidden=40), ROWS, members=64)
    assert not wide.exact
    assert wide.standard_error.min() > 0


def test_predictions_split_their_uncertainty():
    model = mlp()
    for output, entropy in (("logits", True), ("values", False)):
        found = ensemble.predict(model, ROWS, 32, output=output)
        torch.testing.assert_close(found.total, found.aleatoric + found.epistemic)
        assert (found.epistemic > 0).all()
        assert (found.total.max() <= math.log(3) + 1e-6) or not entropy
    noisy = ensemble.predict(model, ROWS, 32, noise=0.25)
    torch.testing.assert_close(noisy.aleatoric, torch.full((5, 3), 0.25))
    torch.testing.assert_close(noisy.epistemic, noisy.sample.outputs.var(0))
    with pytest.raises(InputError, match="noise is for values"):
        ensemble.predict(model, ROWS, output="logits", noise=1.0)
