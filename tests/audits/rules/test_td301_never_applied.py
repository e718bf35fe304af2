"""TD301: dropout that never runs."""

import importlib
import textwrap
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from audit_corpus import FLAT, Body, Case, attention, check_twins, in_hosts
from torch import nn

import thinned


def cases() -> Iterator[Case]:
    def site(wrong: bool, p: float) -> nn.Module:
        return Body(lambda m, x: x.relu() if wrong else m.drop(x.relu()), drop=nn.Dropout(p))

    yield from in_hosts("TD301", {"module": site}, rates=(0.15, 0.3))
    yield from in_hosts(
        "TD301",
        {"off": lambda wrong, p: Body(lambda m, x: F.dropout(x, p, training=not wrong and m.training))},
        rates=(0.3,),
    )

    def by_rate(wrong: bool, p: float) -> nn.Module:
        return Body(lambda m, x: attention(m, x, m.drop.p if m.training and not wrong else 0.0), drop=nn.Dropout(p))

    yield from in_hosts("TD301", {"rate": by_rate}, FLAT, (0.35,))


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


SOURCES = {
    "method": ("drop_m", "def training_step(self, x):\n    return self.last(self.drop_m(self.first(x))).sum()"),
    "branch": ("drop_b", "def forward(self, x, more=False):\n    return self.last(self.drop_b(x) if more else x)"),
    "string": ("drop_s", "def other(self):\n    return operator.attrgetter('drop_s')(self)"),
    "dynamic": ("drop_d", "def other(self, n):\n    return getattr(self, 'drop_' + n)"),
    "children": ("drop_c", "def other(self):\n    return list(self.children())[1]"),
    "user": ("drop_u", "def step(model, x):\n    return model.drop_u(x)", ""),
}


@pytest.mark.parametrize("kind", [*SOURCES, "unknown", "instance", "none"])
def test_a_dropout_that_may_be_used_elsewhere_is_not_removed(kind, tmp_path, monkeypatch) -> None:
    name, code, indent = (*SOURCES.get(kind, ("drop_n", "pass")), "    ")[:3]
    init = "        super().__init__()\n        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 2)\n"
    init += f"        self.{name} = nn.Dropout(0.3)\n"
    forward = "" if kind == "branch" else "    def forward(self, x):\n        return self.last(self.first(x))\n"
    text = f"import operator\nfrom torch import nn\n\nclass Model(nn.Module):\n    def __init__(self):\n{init}{forward}"
    text += textwrap.indent(code, indent) + "\n"
    names: dict[str, type[nn.Module]] = {"__name__": "typed_at_a_prompt"}
    if kind == "unknown":
        exec(text, names)
        model = names["Model"]()
    else:
        (tmp_path / f"model_{kind}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        model = importlib.import_module(f"model_{kind}").Model()
    if kind == "instance":
        model.step = lambda x: x
    result = thinned.audit(model, torch.randn(4, 3), fix=True)
    removed = kind == "none"
    assert ("TD301" in result.codes(), bool(result.fixed), hasattr(model, name)) == (not removed, removed, not removed)


def test_a_removal_that_the_model_cannot_bear_is_undone(tmp_path, monkeypatch) -> None:
    text = """
import operator
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(3, 3), nn.Dropout(0.3), nn.Linear(3, 2)

    def forward(self, x):
        assert operator.attrgetter("dr" + "op")(self).p
        return self.last(self.first(x))
"""
    (tmp_path / "model_reading.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("model_reading").Model()
    result = thinned.audit(model, torch.randn(4, 3), fix=True)
    assert ("TD301" in result.codes(), result.fixed) == (True, ())
    assert list(model._modules) == ["first", "drop", "last"]


def test_albert_has_a_dropout_that_never_runs() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64}
    config = transformers.AlbertConfig(
        **sizes, num_attention_heads=4, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1
    )
    [finding] = thinned.audit(transformers.AlbertModel(config), torch.randint(0, 50, (2, 8)))
    assert (finding.code, finding.module) == ("TD301", "encoder.albert_layer_groups.0.albert_layers.0.dropout")


class Parts(nn.Module):
    """Parts of which one forward runs some."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        if hasattr(self, "tasks"):
            x = self.tasks[1](x)
        if hasattr(self, "layers"):
            x = self.layers[0](x)
        return self.last(x)


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1))


@pytest.mark.parametrize(
    ("parts", "modules"),
    [
        ({"other_head": block()}, set()),  # a branch that did not run
        ({"layers": nn.ModuleList([block(), block(), block()])}, set()),  # layers that were skipped
        ({"tasks": nn.ModuleList(nn.Dropout(p) for p in (0.1, 0.2, 0.3))}, set()),  # one for each task
        ({"dead": nn.Dropout(0.1)}, {"dead"}),
        ({"dead": nn.ModuleList([nn.Dropout(0.1), nn.Dropout(0.2)])}, {"dead.0", "dead.1"}),
        ({"layers": nn.ModuleList([nn.Linear(4, 4), nn.Dropout(0.1)])}, {"layers.1"}),  # forgotten beside its layer
    ],
)
def test_parts_that_did_not_run_are_not_unused(parts: dict[str, nn.Module], modules: set[str]) -> None:
    result = thinned.audit(Parts(**parts), torch.randn(4, 4))
    assert {finding.module for finding in result if finding.code == "TD301"} == modules


class Labels(nn.Module):
    """Some labels become the class of no label, as in classifier-free guidance."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.dropout_prob = nn.Embedding(11, 8), 0.1

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        if self.training:
            labels = torch.where(torch.rand(len(labels)) < self.dropout_prob, 10, labels)
        return self.table(labels)


class Forgotten(Labels):
    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        return self.table(labels)


class Above(Labels):
    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        return super().forward(labels)


def unused(module: nn.Module, rate: float) -> torch.Tensor:
    return torch.rand(4) < rate * module.dropout_prob


class ByFunction(Labels):
    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        unused(self, 1.0)
        return self.table(labels)


@pytest.mark.parametrize(
    ("cls", "found"), [(Labels, False), (Forgotten, True), (Above, False), (ByFunction, False)]
)  # fmt: skip
def test_a_rate_that_a_method_reads_is_used(cls: type[nn.Module], found: bool) -> None:
    result = thinned.audit(cls(), torch.randint(0, 10, (16,)))
    assert ("TD301" in result.codes()) is found


class OneRate(nn.Module):
    """A layer that nothing reads, or whose rate a function takes, beside a function of the same rate."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.out, self.resid = nn.Linear(8, 8), nn.Linear(8, 2), nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(F.dropout(self.query(x), 0.1, self.training))


class ItsRate(OneRate):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(F.dropout(self.query(x), self.resid.p, self.training))


class Fused(ItsRate):
    """The same attention by another function, as a subclass for scaled_dot_product_attention has it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(F.dropout(self.query(x), 0.1, self.training))


@pytest.mark.parametrize(("cls", "found"), [(OneRate, True), (ItsRate, False), (Fused, False)])
def test_a_function_of_the_same_rate_hides_no_dead_layer(cls: type[nn.Module], found: bool) -> None:
    assert ("TD301" in thinned.audit(cls(), torch.randn(4, 8)).codes()) is found


@pytest.mark.parametrize("off", [True, False])
def test_a_layer_of_ones_own_that_never_drops(off: bool) -> None:
    class Own(nn.Dropout):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(x, self.p, training=not off and self.training)

    model = nn.Sequential(nn.Linear(4, 4), Own(0.3), nn.Linear(4, 2))
    assert thinned.audit(model, torch.randn(8, 4)).codes() == ({"TD301"} if off else set())
