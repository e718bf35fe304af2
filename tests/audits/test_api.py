"""The audit: what it leaves alone, and what it says."""

import copy
import inspect
import random
import types
from pathlib import Path
from unittest.mock import Mock

import audit_corpus
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from audit_corpus import Net
from torch import nn

import thinned
from thinned.audits.api import examine

X = torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def by_code(result: thinned.Audit) -> dict[str, thinned.Finding]:
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


def test_a_finding_says_all_that_is_needed(tmp_path, monkeypatch):
    found = by_code(thinned.audit(Net(), X))
    functional = found["TD101"]
    assert (functional.severity, functional.module, functional.class_name) == ("error", "", "Net")
    assert functional.file == audit_corpus.__file__
    with monkeypatch.context() as patch:
        patch.chdir(Path(audit_corpus.__file__).parent)
        assert functional.location == f"audit_corpus.py:{functional.line}"
        patch.chdir(tmp_path)
        assert functional.location == f"{audit_corpus.__file__}:{functional.line}"
        patch.setattr(Path, "cwd", Mock(side_effect=FileNotFoundError))  # a removed one
        assert functional.location == f"{audit_corpus.__file__}:{functional.line}"
    assert "F.dropout(" in Path(audit_corpus.__file__).read_text().splitlines()[functional.line - 1]
    assert (functional.data["p"], functional.data["shape"], functional.confirmed) == (0.5, [8, 6], True)
    assert 0.25 < functional.data["zeros"] <= 1  # 48 decisions: fails once in 4,000 draws, of which there is one here
    assert "training=self.training" in functional.fix
    assert "Srivastava" in functional.source
    assert "p=0.5 on (8, 6)" in str(functional)
    assert found["TD301"].module == "dead"
    assert found["TD204"].severity == "error"
    assert found["TD203"].severity == "info"
    assert list(found) == ["TD101", "TD204", "TD301", "TD203"]  # most severe first


def test_meta_tensors():
    model = Net().to("meta")
    assert {f.code for f in thinned.audit(model, X.to("meta"))} >= {"TD101", "TD301", "TD204"}
    assert all(p.is_meta for p in model.parameters())


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


def test_layers_of_ours():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), thinned.Dropout(0.9), nn.Linear(4, 2))
    [finding] = thinned.audit(model, torch.randn(8, 4))
    assert (finding.code, finding.class_name) == ("TD304", "Dropout")
    thinned.address(model, seed=1)
    assert thinned.audit(model, torch.randn(8, 4)).codes() == {"TD304"}
    assert model.thinned_clock.item() == 0


def test_modes_are_those_that_the_caller_knows():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2), nn.Linear(4, 2)).eval()
    assert not thinned.audit(model, torch.randn(8, 4))
    modes = {"": True, "0": True, "1": False, "2": True}
    [finding], _ = examine(model, (torch.randn(8, 4),), {}, modes=modes)
    assert (finding.code, finding.module) == ("TD104", "1")


def test_errors():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module; got function"):
        thinned.audit(F.dropout, torch.ones(2))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None, *, fix: bool = True) -> torch.Tensor:
        assert y is not None
        assert not fix
        return self.layer(F.dropout(x + y, 0.5))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((torch.ones(4, 4), torch.ones(4, 4)), {"fix": False}),
        (torch.ones(4, 4), {"y": torch.ones(4, 4), "fix": False}),
        ({"x": torch.ones(4, 4), "y": torch.ones(4, 4), "fix": False}, None),
        (types.MappingProxyType({"x": torch.ones(4, 4), "y": torch.ones(4, 4)}), {"fix": False}),
    ],
)
def test_arguments_of_the_forward_never_meet_options(args, kwargs):
    result = thinned.audit(Two(), args, kwargs)
    assert (result.codes(), result.fixed) == ({"TD101"}, ())


def test_a_call_of_the_old_form_is_refused_with_the_remedy():
    with pytest.raises(
        TypeError, match=r"kwargs must be a mapping .*; got Tensor; .* thinned.audit\(model, \(x, y\)\)$"
    ):
        thinned.audit(Two(), torch.ones(4, 4), torch.ones(4, 4))
    with pytest.raises(TypeError):
        thinned.audit(Two(), torch.ones(4, 4), y=torch.ones(4, 4))


def test_an_error_of_the_forward_is_raised_with_or_without_gradients():
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("grad of what?")

    with pytest.raises(RuntimeError, match=r"grad of what\?"):
        thinned.audit(Fails(), torch.ones(2, 2))


def test_a_model_that_transforms_functions():
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.vmap(lambda row: row.clone().clamp_(min=0))(self.layer(x))
            y = torch.vmap(lambda row: F.dropout(row, 0.5), randomness="different")(y)
            slope = torch.func.grad(lambda z: (self.layer(z) * torch.rand(4)).sum())(y[0])
            return self.layer(self.drop(self.norm(y))) + slope

    model = Mapped()
    state = copy.deepcopy(model.state_dict())
    assert {"TD101", "TD304"} <= thinned.audit(model, torch.randn(8, 4)).codes()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_lazy_modules_stay_lazy():
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Dropout(0.9), nn.LazyBatchNorm1d(), nn.Linear(8, 2))
    model[2].eval()
    state = torch.get_rng_state()
    result = thinned.audit(model, torch.randn(8, 4, generator=torch.Generator().manual_seed(0)))
    assert {(finding.code, finding.module) for finding in result} >= {("TD304", "2"), ("TD202", "2")}
    assert torch.equal(state, torch.get_rng_state())
    assert (type(model[0]), type(model[3])) == (nn.LazyLinear, nn.LazyBatchNorm1d)
    assert model[0].has_uninitialized_params()
    assert [module.training for module in model] == [True, True, False, True, True]
    assert model(torch.randn(8, 4)).shape == (8, 2)


def test_a_repair_of_a_lazy_model_changes_the_model_itself():
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(8, 2, 3))
    result = thinned.audit(model, X, fix=True)
    assert (list(result), type(model[2]), type(model[0])) == ([], nn.Dropout2d, nn.LazyConv2d)


def test_a_finding_without_a_call_names_the_line_that_builds_the_module():
    [finding] = [finding for finding in thinned.audit(Defined(), torch.randn(4, 3)) if finding.module == "dead"]
    first = inspect.getsourcelines(Defined)[1]
    assert (finding.file, finding.line) == (__file__, first + 3) == (finding.definition_file, finding.definition_line)


def test_a_comment_silences_at_the_call_and_at_the_definition():
    result = thinned.audit(Defined(), torch.randn(4, 3))
    assert {finding.module for finding in result} == {"dead"}
    assert result.suppressed == 2


class Defined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dead = nn.Dropout(0.3)
        self.silenced = nn.Dropout(0.2)  # thinned: ignore[TD301]
        self.high, self.last = nn.Dropout(0.8), nn.Linear(3, 2)  # thinned: ignore

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.high(x.relu()))


@pytest.mark.parametrize(("columns", "most"), [("60", 80), ("90", 90), ("300", 120)])
def test_a_printed_audit_fits_the_terminal(monkeypatch, columns, most):
    """Headings and fixes stay on a line, so that a file can be opened and code be copied."""
    monkeypatch.setenv("COLUMNS", columns)
    text = str(
        thinned.audit(
            nn.Sequential(*[nn.Sequential(nn.Dropout(0.95), nn.Linear(6, 6)) for _ in range(5)]), torch.ones(8, 6)
        )
    )
    first, *lines = text.splitlines()
    assert first.startswith("Sequential: 5 dropout sites")
    paragraphs = [line for line in lines if not line.startswith("TD") and "fix:" not in line]
    assert most - 25 < max(map(len, paragraphs)) <= most
    assert all(line.startswith("  ") for line in paragraphs)
    assert "  and 4 more like it: 1.0, 2.0, 3.0, …" in lines
