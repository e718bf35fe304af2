"""convert: every torch dropout of real models becomes ours, and evaluation stays bit for bit what it was."""

import copy
import pickle
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import thinned
from thinned import addressing, sites


class Bernoulli(TorchDispatchMode):
    """Counts the masks that torch draws, below every Python function: on a CPU each calls bernoulli_."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten.bernoulli_, torch.ops.aten.native_dropout)
        return func(*args, **(kwargs or {}))


def masks_of_torch(model, inputs):
    with Bernoulli() as mode:
        model(**inputs)
    return mode.count


def masks_of_ours(model, inputs, monkeypatch):
    """How often the one operation of ours that draws a mask, or attention's, is reached."""
    count = Counter()

    def counted(module, name):
        original = getattr(module, name)

        def call(*args, **kwargs):
            count[name] += 1
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr("thinned.ops.draw_key", counted(thinned.ops, "draw_key"))
        model(**inputs)
    return count["draw_key"]


class GraphStyle(nn.Module):
    """As torch_geometric's examples write it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x, edges):
        x = F.dropout(x, p=0.6, training=self.training)
        x = F.elu(self.first(x).index_add(0, edges[0], x[edges[1]]))
        x = F.dropout(x, p=0.6, training=self.training)
        return F.log_softmax(self.second(x), dim=-1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 12, 3, dropout=0.3, bidirectional=True, batch_first=True, proj_size=5)
        self.gru = nn.GRU(10, 6, 2, dropout=0.3)
        self.rnn = nn.RNN(6, 6, 2, dropout=0.3, nonlinearity="relu")

    def forward(self, x):
        return self.rnn(self.gru(self.lstm(x)[0])[0])


class Functions(nn.Module):
    """Every function of torch that drops."""

    def __init__(self):
        super().__init__()
        self.modules_ = nn.ModuleList(
            [nn.Dropout(0.2), nn.Dropout1d(0.2), nn.AlphaDropout(0.2), nn.FeatureAlphaDropout(0.2)]
        )
        self.more = nn.ModuleList([nn.Dropout2d(0.2), nn.Dropout3d(0.2)])

    def forward(self, x):
        for module in self.modules_:
            x = module(x)
        for module, shape in zip(self.more, ((2, 3, 4, 2), (2, 3, 2, 2, 2)), strict=True):
            x = module(x.view(shape)).view_as(x)
        for function in (F.dropout, F.dropout1d, F.alpha_dropout, F.feature_alpha_dropout):
            x = function(x, 0.2, self.training)
        x = F.dropout2d(x.view(2, 3, 4, 2), 0.2, self.training).view_as(x)
        x = F.dropout3d(x.view(2, 3, 2, 2, 2), 0.2, self.training).view_as(x)
        for function in (torch.dropout, torch.feature_dropout, torch.alpha_dropout, torch.feature_alpha_dropout):
            x = function(x, 0.2, self.training)
        x = x * 1
        for function in (torch.dropout_, torch.feature_dropout_, torch.alpha_dropout_, torch.feature_alpha_dropout_):
            x = function(x, 0.2, self.training)
        x = F.dropout(x, 0.2, self.training, inplace=True)
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.2 if self.training else 0.0)


class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.Transformer(8, 2, 2, 2, 16, dropout=0.2, batch_first=True)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.transformer(x, x, tgt_mask=mask, tgt_is_causal=True)


def transformer(name):
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    ids = torch.arange(12).reshape(2, 6) % 11
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if name.startswith("bert"):
        config = transformers.BertConfig(vocab_size=20, **small)
        config._attn_implementation = name.partition("-")[2]
        return transformers.BertForMaskedLM(config), tokens
    if name == "gpt2":
        config = transformers.GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=16)
        return transformers.GPT2LMHeadModel(config), tokens
    if name == "t5":
        config = transformers.T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
        return transformers.T5ForConditionalGeneration(config), {**tokens, "decoder_input_ids": ids}
    if name == "llama":
        config = transformers.LlamaConfig(vocab_size=20, **small, attention_dropout=0.2)
        return transformers.LlamaForCausalLM(config), tokens
    if name == "vit":
        config = transformers.ViTConfig(
            **small, image_size=8, patch_size=4, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1
        )
        return transformers.ViTForImageClassification(config), {"pixel_values": torch.randn(2, 3, 8, 8)}
    config = transformers.Wav2Vec2Config(
        **small, conv_dim=(8, 8), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, vocab_size=20, layerdrop=0.0, mask_time_prob=0.0,
    )  # fmt: skip
    return transformers.Wav2Vec2ForCTC(config), {"input_values": torch.randn(2, 400)}


def case(name):
    torch.manual_seed(0)
    if name == "graph":
        return GraphStyle(), {"x": torch.randn(10, 16), "edges": torch.randint(10, (2, 20))}
    if name == "recurrent":
        return Recurrent(), {"x": torch.randn(2, 5, 8)}
    if name == "functions":
        return Functions(), {"x": torch.randn(2, 3, 8)}
    if name == "transformer":
        return Seq2Seq(), {"x": torch.randn(2, 5, 8)}
    return transformer(name)


CASES = ["graph", "recurrent", "functions", "transformer"]
CASES += ["bert-sdpa", "bert-eager", "gpt2", "t5", "llama", "vit", "wav2vec2"]


def tensors(output):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]


@pytest.fixture(params=CASES)
def real(request):
    return case(request.param)


@pytest.mark.filterwarnings("ignore")  # those of the models themselves
class TestRealModels:
    def test_evaluation_is_bitwise_unchanged(self, real):
        model, inputs = real
        model.eval()
        with torch.no_grad():
            before = tensors(model(**inputs))
        state = {name: value.clone() for name, value in model.state_dict().items()}
        for change in (addressing.convert, lambda m: addressing.address(m, 3)):
            change(model)
            with torch.no_grad():
                assert all(map(torch.equal, tensors(model(**inputs)), before))
            assert not any(m.training for m in model.modules())
        after = model.state_dict()
        assert set(after) - set(state) == {"thinned_clock"}
        assert all(torch.equal(after[name], value) for name, value in state.items())

    def test_every_mask_is_ours(self, real, monkeypatch):
        model, inputs = real
        model.train()
        expected = masks_of_torch(model, inputs)
        assert expected > 0
        found = [site for site in sites.find(model, **inputs) if site.p and site.active]
        assert len(found) == expected
        report = addressing.convert(model)
        assert masks_of_torch(model, inputs) == 0
        off = [s for s in sites.find(model, **inputs) if s.active and not s.p and s.kind in ("module", "functional")]
        assert masks_of_ours(model, inputs, monkeypatch) == expected + len(off)  # p = 0 draws a key, and drops nothing
        again = [site for site in sites.find(model, **inputs) if site.p and site.active]
        assert [site.name for site in again] == [site.name for site in found]
        assert not report.unconverted
        reported = {site.name.partition("#")[0] for site in found if site.kind == "module"}
        reported |= {site.name for site in found if site.kind != "module"}
        assert reported <= set(report.converted)

    def test_training_is_reproducible_at_addresses_and_trains(self, real):
        model, inputs = real
        addressing.address(model.train(), 5)
        twin = copy.deepcopy(model)
        torch.manual_seed(1)
        first = tensors(model(**inputs))
        torch.manual_seed(2)
        assert all(map(torch.equal, tensors(twin(**inputs)), first))
        if list(model.parameters()):
            first[0].sum().backward()
            assert any(p.grad is not None for p in model.parameters())
        if not any(map(nn.utils.parametrize.is_parametrized, model.modules())):  # torch does not pickle those
            assert pickle.loads(pickle.dumps(model)).thinned_clock.item() == 1
