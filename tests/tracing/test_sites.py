"""sites.find: what it finds, what stands around it, and that it leaves everything as it was."""

import gc
import random
import threading
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thinned
from thinned.conversion import api
from thinned.tracing import sites
from thinned.tracing.recorder import recording
from thinned.tracing.site import Op


class Hidden(nn.Module):
    """A site of every kind."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.lstm = nn.LSTM(8, 6, 3, dropout=0.3, batch_first=True, bidirectional=True)
        self.norm = nn.BatchNorm1d(12)
        self.out = nn.Linear(12, 2)

    def forward(self, x):
        x = self.drop(self.embed(x))
        x = self.lstm(self.encoder(x))[0]
        x = F.dropout(x.mean(1), 0.4, training=self.training)
        x = self.out(F.dropout(self.norm(x).view(-1, 12), 0.0, self.training).reshape(-1, 12))
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.5) + F.dropout(x, 0.25, training=False)


X = torch.arange(15).reshape(3, 5) % 10


def test_every_kind_with_producer_and_consumers():
    found = {site.name: site for site in sites.find(Hidden(), X)}
    assert [(s.name, s.kind, s.op, s.p, s.active, s.shape) for s in found.values()] == [
        ("drop", "module", "Dropout", 0.2, True, (3, 5, 8)),
        ("encoder.self_attn", "attention", "multi_head_attention_forward", 0.1, True, (3, 2, 5, 5)),
        ("encoder.dropout1", "module", "Dropout", 0.1, True, (3, 5, 8)),
        ("encoder.dropout", "module", "Dropout", 0.1, True, (3, 5, 16)),
        ("encoder.dropout2", "module", "Dropout", 0.1, True, (3, 5, 8)),
        ("lstm", "rnn", "lstm", 0.3, True, (3, 5, 12)),
        ("lstm#1", "rnn", "lstm", 0.3, True, (3, 5, 12)),
        ("", "functional", "dropout", 0.4, True, (3, 12)),
        ("#1", "functional", "dropout", 0.0, True, (3, 12)),
        ("#2", "attention", "scaled_dot_product_attention", 0.5, True, (3, 3)),
        ("#3", "functional", "dropout", 0.25, False, (3, 2)),
    ]
    assert found["drop"].producer == Op("embed", "Embedding")
    assert found["drop"].consumers == (Op("encoder.self_attn", "MultiheadAttention"), Op("encoder", "add"))
    assert found["encoder.dropout"].producer == Op("encoder", "relu")
    assert found["encoder.dropout"].consumer == Op("encoder.linear2", "Linear")
    assert found[""].producer == Op("", "mean")
    assert found[""].consumer == Op("norm", "BatchNorm1d")
    assert found["#1"].producer == Op("norm", "BatchNorm1d")  # through a view
    assert found["#1"].consumer == Op("out", "Linear")
    assert found["#2"].consumers == (Op("", "add"),)
    assert found["lstm"].producer == found["lstm"].consumer == Op("lstm", "LSTM")


def test_input_and_output_have_no_neighbours():
    [site] = sites.find(nn.Dropout(0.5), torch.ones(3))
    assert (site.name, site.producer, site.consumer) == ("", None, None)


def test_layers_of_ours_and_their_subclasses():
    class Own(nn.Dropout):
        pass

    model = nn.Sequential(thinned.Dropout(0.5), nn.Linear(3, 3), thinned.layers.LockedDropout(0.25), Own(0.125))
    found = sites.find(model, torch.ones(2, 4, 3))
    assert [(s.name, s.kind, s.op, s.p) for s in found] == [
        ("0", "module", "Dropout", 0.5),
        ("2", "module", "LockedDropout", 0.25),
        ("3", "module", "Own", 0.125),
    ]
    assert found[0].consumer == found[1].producer == Op("1", "Linear")


def test_a_converted_and_addressed_model_has_the_same_sites():
    model = Hidden()
    before = sites.find(model, X)
    api.address(model, 1)
    after = sites.find(model, X)
    assert [s[:5] for s in after] == [s[:5] for s in before]
    assert model.thinned_clock.item() == 0


def test_noise_of_the_models_own():
    class Own(nn.Module):
        def forward(self, x):
            return x * torch.rand_like(x) * torch.bernoulli(torch.full_like(x, 0.5))

    recording = sites.record(nn.Sequential(Own()), torch.ones(3))
    assert recording.sites == ()
    assert recording.noise == (Op("0", "rand_like"), Op("0", "bernoulli"))


def test_intermediate_tensors_are_not_kept():
    alive = []

    class Watching(nn.Module):
        def forward(self, x):
            alive.append(weakref.ref(x))
            gc.collect()
            counts.append(sum(ref() is not None for ref in alive))
            return x + 1

    counts = []
    with torch.no_grad():
        sites.find(nn.Sequential(*(Watching() for _ in range(5))), torch.ones(3))
    assert max(counts) <= 2  # the input, and the one at hand


class Careless(nn.Module):
    """Changes all that a forward pass can, then maybe fails."""

    def __init__(self, fails):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.embed = nn.Embedding(4, 3, max_norm=0.1)
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("replaced", torch.tensor(float("nan")))
        self.fails, self.count = fails, 0

    def forward(self, x):
        self.steps += 1
        self.replaced = torch.ones(2)
        self.count += 1
        self.new = nn.Linear(1, 1)
        self.norm(F.dropout(self.embed(x))), np.random.rand(), random.random()  # noqa: NPY002 - the global one
        if self.fails:
            raise KeyError("as it happens")
        return x


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_left_as_it_was(fails, monkeypatch):
    # other tests leave the threads of pools behind, beside which generators other than torch's are not put back
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.current_thread()])
    model = Careless(fails)
    model.norm.eval()
    hooked = []
    model.register_forward_pre_hook(lambda *_: hooked.append(1))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    same = dict(model.named_buffers())
    hooks = len(nn.modules.module._global_forward_hooks), len(nn.modules.module._global_forward_pre_hooks)
    generators = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    if fails:
        with pytest.raises(KeyError, match="as it happens"):
            sites.find(model, torch.arange(3))
    else:
        sites.find(model, torch.arange(3))
    assert model.training
    assert not model.norm.training
    after = model.state_dict()
    assert after.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0, equal_nan=True)
    assert all(buffer is same[name] for name, buffer in model.named_buffers())
    assert (model.count, hasattr(model, "new")) == (0, False)
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.array_equal(np.random.get_state()[1], generators[1])  # noqa: NPY002
    assert random.getstate() == generators[2]
    assert hooks == (len(nn.modules.module._global_forward_hooks), len(nn.modules.module._global_forward_pre_hooks))
    assert torch._C._len_torch_function_stack() == 0
    assert not recording()


def test_torchs_generator_is_left_alone_beside_another_thread():
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        model = Careless(fails=False)
        state = torch.get_rng_state()
        sites.find(model, torch.arange(3))
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        done.set()
        thread.join()


def test_a_module_whose_forward_raised_and_was_caught():
    class Fragile(nn.Module):
        def forward(self, x):
            raise ValueError

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fragile, self.drop = Fragile(), nn.Dropout(0.5)

        def forward(self, x):
            try:
                self.fragile(x)
            except ValueError:
                x = self.drop(x)
            return F.dropout(x, 0.25)

    assert [site.name for site in sites.find(Model(), torch.ones(2))] == ["drop", ""]


def test_a_compiled_model():
    model = torch.compile(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), backend="aot_eager")
    assert [(site.kind, site.p) for site in sites.find(model, torch.ones(1, 2))] == [("module", 0.5)]


def test_errors():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module; got function"):
        sites.find(F.dropout, torch.ones(2))
