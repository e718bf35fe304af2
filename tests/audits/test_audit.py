"""The audit: what it leaves alone, what it says, what it can be told, and what its fixes do."""

import copy
import random
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thinned
from thinned.audits import RULES
from thinned.audits.api import examine
from thinned.errors import InputError

X = torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """One mistake of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop, self.head = nn.Conv2d(3, 6, 3), nn.Dropout(0.3), nn.Linear(6, 4)
        self.dead, self.vector = nn.Dropout(0.4), nn.Dropout1d(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(self.drop(self.conv(x).relu()).mean((2, 3)) @ torch.eye(6), 0.5)
        return self.head(self.vector((x @ torch.eye(6)).relu()))


def by_code(result: thinned.audits.Audit) -> dict[str, thinned.audits.Finding]:
    return {finding.code: finding for finding in result}


class Careless(nn.Module):
    """Changes all that a forward pass can, then maybe fails."""

    def __init__(self, fails: type[BaseException] | None = None) -> None:
        super().__init__()
        self.norm, self.embed = nn.BatchNorm1d(3), nn.Embedding(4, 3, max_norm=0.1)
        self.linear, self.replaced = nn.Linear(3, 3), nn.Linear(3, 3)
        self.register_buffer("steps", torch.zeros(()))
        self.fails, self.count, self.generator = fails, 0, torch.Generator().manual_seed(1)
        self.arrays, self.plain = np.random.default_rng(1), random.Random(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        self.count += 1
        self.new = nn.Dropout(0.5)
        with torch.no_grad():
            self.linear.weight.clamp_(-0.1, 0.1)
            self.linear.bias[0] = 7
            self.replaced.weight.data = self.replaced.weight.data * 2
        torch.rand(3, generator=self.generator), self.arrays.random(), self.plain.random()
        np.random.rand(), random.random()  # noqa: NPY002
        out = self.linear(self.norm(self.new(self.embed(x))))
        if self.fails:
            raise self.fails("as it happens")
        return self.replaced(out)


@pytest.mark.parametrize("fails", [None, KeyError, KeyboardInterrupt])
@pytest.mark.parametrize("training", [False, True])
def test_everything_is_left_as_it_was(fails, training):
    model = Careless(fails).train(training)
    model.norm.train(not training)
    model.register_forward_pre_hook(lambda *_: None)
    x = torch.arange(4)
    state = copy.deepcopy(model.state_dict())
    same = dict([*model.named_parameters(), *model.named_buffers()])
    pointers = {name: p.data_ptr() for name, p in same.items()}
    flags = [m.training for m in model.modules()]
    torch.manual_seed(5)
    generators = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    own = model.generator.get_state(), model.arrays.bit_generator.state, model.plain.getstate()
    hooks = len(nn.modules.module._global_forward_hooks), len(model._forward_pre_hooks)
    if fails:
        with pytest.raises(fails, match="as it happens"):
            thinned.audit(model, x)
    else:
        assert {"TD103"} <= thinned.audit(model, x).codes()
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert all(p is same[name] and p.data_ptr() == pointers[name]
               for name, p in [*model.named_parameters(), *model.named_buffers()])  # fmt: skip
    assert [m.training for m in model.modules()] == flags
    assert (model.count, hasattr(model, "new")) == (0, False)
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.array_equal(np.random.get_state()[1], generators[1])  # noqa: NPY002
    assert random.getstate() == generators[2]
    assert torch.equal(model.generator.get_state(), own[0])
    assert (model.arrays.bit_generator.state, model.plain.getstate()) == own[1:]
    assert hooks == (len(nn.modules.module._global_forward_hooks), len(model._forward_pre_hooks))
    assert torch._C._len_torch_function_stack() == 0
    assert torch.is_grad_enabled()


def test_inputs_are_not_written_to():
    x = torch.randn(4, 3)
    kept = x.clone()
    thinned.audit(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)), x)
    assert torch.equal(x, kept)


def test_a_finding_says_all_that_is_needed():
    found = by_code(thinned.audit(Net(), X))
    functional = found["TD101"]
    assert (functional.severity, functional.module, functional.cls) == ("error", "", "Net")
    assert functional.file == __file__
    assert "F.dropout(" in Path(__file__).read_text().splitlines()[functional.line - 1]
    assert (functional.data["p"], functional.data["shape"], functional.confirmed) == (0.5, [8, 6], True)
    assert 0.25 < functional.data["zeros"] <= 1  # 48 decisions: fails once in 4,000 draws, of which there is one here
    assert "training=self.training" in functional.fix
    assert "Srivastava" in functional.source
    assert "p=0.5 on (8, 6)" in str(functional)
    assert found["TD301"].module == "dead"
    assert found["TD204"].severity == "error"
    assert found["TD203"].severity == "info"
    assert list(found) == ["TD101", "TD204", "TD301", "TD203"]  # gravest first


def test_the_measured_shift_is_that_of_theory():
    # on activations of mean 0, dropout raises the variance to 1 / (1 - p); 8·81·32 values, so 0.05 is 5 standard errors
    model = nn.Sequential(nn.Conv2d(3, 32, 1, bias=False), nn.Dropout(0.5), nn.BatchNorm2d(32))
    torch.manual_seed(0)
    [finding] = [f for f in thinned.audit(model, torch.randn(64, 3, 9, 9)) if f.code == "TD202"]
    assert finding.data["variance_ratio"] == pytest.approx(2, abs=0.1)


def test_selection_and_suppression():
    model = nn.ModuleDict({"one": Net(), "two": Net()})
    model.forward = types.MethodType(lambda self, x: self["one"](x) + self["two"](x), model)
    everything = thinned.audit(model, X)
    assert {f.code for f in everything} == {"TD101", "TD204", "TD301", "TD203"}
    assert {f.code for f in thinned.audit(model, X, select=["TD1", "td3"])} == {"TD101", "TD301"}
    assert "TD101" not in thinned.audit(model, X, ignore=["TD101"]).codes()
    assert "TD101" not in thinned.audit(model, X, ignore="TD101").codes()
    fixed = thinned.audit(copy.deepcopy(model), X, fix=True, select=iter(["TD101", "TD204"]))  # audited twice
    assert fixed.codes() == thinned.audit(copy.deepcopy(model), X, fix=True, select=["TD101", "TD204"]).codes()
    part = thinned.audit(model, X, ignore=["one*:TD"])
    assert {f.module.split(".")[0] for f in part} == {"two"}
    assert part.suppressed == len(everything) - len(part)
    for wrong in ("TD9", "", "one:"):
        with pytest.raises(InputError, match=r"a code must be one of the rules', .* got "):
            thinned.audit(model, X, ignore=[wrong])


class Deliberate(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(x, 0.5)  # Monte-Carlo; thinned: ignore
        x = F.dropout(x @ x.T, 0.5)  # thinned: ignore[TD101, TD206]
        return F.dropout(x @ x.T, 0.5) @ x  # thinned: ignore[TD202]


def test_inline_suppression():
    [finding] = thinned.audit(Deliberate(), torch.ones(4, 4))
    assert "ignore[TD202]" in Path(__file__).read_text().splitlines()[finding.line - 1]


def test_meta_tensors():
    model = Net().to("meta")
    assert {f.code for f in thinned.audit(model, X.to("meta"))} >= {"TD101", "TD301", "TD204"}
    assert all(p.is_meta for p in model.parameters())


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_scripted_part_is_seen_by_its_effect():
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.dropout(x, 0.5, True)

    model = nn.Sequential(nn.Linear(6, 6), torch.jit.script(Inner()), nn.Linear(6, 2))
    [finding] = thinned.audit(model, torch.randn(8, 6))
    assert (finding.code, finding.severity, finding.module) == ("TD102", "error", "1")
    assert 0.3 < finding.data["moved_zeros"] < 0.7  # of 48: fails once in 300 draws, of which there is one here


def test_sampling_in_evaluation_is_no_mistake():
    class Variational(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = self.encode(x)
            return self.decode(z + torch.randn_like(z))

    [finding] = thinned.audit(Variational(), torch.ones(4, 4))
    assert (finding.code, finding.severity) == ("TD102", "info")


def test_rows_in_another_order_differ_by_a_number():
    class Shuffled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[torch.randperm(len(x))]

    [finding] = thinned.audit(Shuffled(), torch.arange(32.0).reshape(8, 4))  # whose sum is the same in any order
    assert (finding.code, finding.severity) == ("TD102", "info")
    assert 4 <= finding.data["largest"] <= 28
    assert f"by up to {finding.data['largest']:g}" in finding.seen


def test_code_beside_torch_is_not_torch():
    file = f"{Path(torch.__file__).parent}vision/model.py"
    names = {"F": F}
    exec(compile("def drop(self, x):\n    return F.dropout(x, 0.5)", file, "exec"), names)
    model = type("Model", (nn.Module,), {"forward": names["drop"]})()
    [finding] = thinned.audit(model, torch.ones(8, 4))
    assert (finding.code, finding.file, finding.line) == ("TD101", file, 2)


def test_gradients_in_a_forward_and_no_dropout_at_all():
    class Forces(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.requires_grad_()
            return torch.autograd.grad(self.linear(x).tanh().sum(), x)[0]

    result = thinned.audit(Forces(), torch.ones(4, 3))
    assert (list(result), result.sites) == ([], 0)
    assert "nothing found" in str(result)


def test_information():
    shared = nn.Dropout(0.2)
    model = nn.Sequential(nn.Linear(4, 4), shared, nn.Linear(4, 4), shared, nn.Linear(4, 2))
    assert by_code(thinned.audit(model, torch.ones(4, 4)))["TD306"].data["calls"] == 2
    zero = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.0))
    assert by_code(thinned.audit(zero, torch.ones(4, 4)))["TD305"].severity == "info"


def test_layers_of_ours():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), thinned.Dropout(0.9), nn.Linear(4, 2))
    [finding] = thinned.audit(model, torch.randn(8, 4))
    assert (finding.code, finding.cls) == ("TD304", "Dropout")
    thinned.address(model, seed=1)
    assert thinned.audit(model, torch.randn(8, 4)).codes() == {"TD304"}
    assert model.thinned_clock.item() == 0


def test_modes_are_those_that_the_caller_knows():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2), nn.Linear(4, 2)).eval()
    assert not thinned.audit(model, torch.randn(8, 4))
    modes = {"": True, "0": True, "1": False, "2": True}
    [finding], _ = examine(model, (torch.randn(8, 4),), {}, modes=modes)
    assert (finding.code, finding.module) == ("TD104", "1")


def test_the_fixes_remove_the_findings_and_change_evaluation_only_where_they_say_so():
    torch.manual_seed(0)
    model = Net().eval()
    torch.manual_seed(1)
    plain = copy.deepcopy(model)
    result = thinned.audit(model, X, fix=True)
    assert [what.split(":")[0] for what in result.fixed] == [
        "TD101 (the model)",
        "TD204 vector",
        "TD301 dead",
        "TD203 drop",
    ]
    assert list(result) == []
    assert torch.equal(model(X), model(X))
    with torch.no_grad():  # what evaluation should have been
        features = plain.conv(X).relu().mean((2, 3))
        assert torch.allclose(model(X), plain.head(features.relu()), atol=1e-6)
    assert (type(model.drop), type(model.vector), hasattr(model, "dead")) == (nn.Dropout2d, nn.Dropout, False)
    assert not torch.equal(model.train()(X), model(X))
    assert torch._C._len_torch_function_stack() == 0
    again = thinned.audit(model, X, fix=True)
    assert (list(again), again.fixed) == ([], ())


@pytest.mark.parametrize("kind", ["sdpa", "built", "raises"])
def test_the_gate(kind):
    class Gated(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if kind == "sdpa":
                return F.scaled_dot_product_attention(x, x, x, None, 0.5) + F.scaled_dot_product_attention(
                    x, x, x, dropout_p=0.5
                )
            y = nn.Dropout(0.5)(x)
            if len(x) == 1:
                raise ValueError
            return y @ x.mT

    model, x = nn.Sequential(Gated()), torch.randn(4, 5, 6)
    assert not thinned.audit(model, x, fix=True).of("error")
    model.eval()
    assert torch.equal(model(x), model(x))
    if kind == "raises":
        with pytest.raises(ValueError):  # noqa: PT011 - as it happens
            model(x[:1])
    assert torch._C._len_torch_function_stack() == 0
    with ThreadPoolExecutor(4) as pool:  # each thread has gates of its own
        assert all(torch.equal(y, model(x)) for y in pool.map(model, [x] * 32))
    other = F.dropout(torch.ones(1000), 0.5)
    assert (other == 0).any()


def test_a_removal_that_the_model_cannot_bear_is_undone():
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.drop, self.last = nn.Linear(3, 3), nn.Dropout(0.3), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert self.drop.p
            return self.last(self.first(x))

    model = Reading()
    result = thinned.audit(model, torch.randn(4, 3), fix=True)
    assert ("TD301" in result.codes(), result.fixed) == (True, ())
    assert list(model._modules) == ["first", "drop", "last"]


def test_features_in_the_last_axis_are_not_fixed_by_guess():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout1d(0.2), nn.Linear(6, 2))
    result = thinned.audit(model, torch.randn(8, 5, 4), fix=True)
    assert (result.codes(), result.fixed, type(model[1])) == ({"TD204"}, (), nn.Dropout1d)


def test_every_rule_explains_itself():
    for code, rule in RULES.items():
        assert rule.code == code
        assert rule.title()
        assert rule.severities
        assert all((rule.why, rule.source, rule.wrong, rule.right, rule.check.__doc__))
        assert not rule.why.endswith(".")


def test_errors():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        thinned.audit(F.dropout, torch.ones(2))


def test_albert_has_a_dropout_that_never_runs():
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64}
    config = transformers.AlbertConfig(
        **sizes, num_attention_heads=4, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1
    )
    [finding] = thinned.audit(transformers.AlbertModel(config), torch.randint(0, 50, (2, 8)))
    assert (finding.code, finding.module) == ("TD301", "encoder.albert_layer_groups.0.albert_layers.0.dropout")


def test_monai_attention_drops_in_evaluation():
    blocks = pytest.importorskip("monai.networks.blocks")
    [finding] = thinned.audit(
        blocks.SABlock(32, 4, dropout_rate=0.2, use_flash_attention=True), torch.randn(2, 6, 32)
    ).of("error")
    assert (finding.code, finding.data["op"]) == ("TD101", "scaled_dot_product_attention")
