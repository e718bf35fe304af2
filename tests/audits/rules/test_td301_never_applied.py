"""TD301: dropout that never runs."""

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


def test_a_removal_that_the_model_cannot_bear_is_undone() -> None:
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


def test_albert_has_a_dropout_that_never_runs() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64}
    config = transformers.AlbertConfig(
        **sizes, num_attention_heads=4, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1
    )
    [finding] = thinned.audit(transformers.AlbertModel(config), torch.randint(0, 50, (2, 8)))
    assert (finding.code, finding.module) == ("TD301", "encoder.albert_layer_groups.0.albert_layers.0.dropout")
