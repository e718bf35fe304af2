"""Models with every kind of dropout site, shared by the tests of the ensemble."""

import torch
import torch.nn.functional as F
from torch import nn

import thinned
from thinned.ensemble.forward import ForwardPasses
from thinned.ensemble.mask_sources import SampledMask
from thinned.ensemble.sampling import member_keys


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


torch.manual_seed(0)
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
    """Training flags, state dict and the state of torch's default generator."""
    flags = {name: module.training for name, module in model.named_modules()}
    return flags, {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()


def assert_same(before, after):
    assert before[0] == after[0]
    assert all(torch.equal(before[1][name], after[1][name]) for name in before[1])
    assert torch.equal(before[2], after[2])
