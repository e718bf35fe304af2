"""TD308: dropout that drops everything."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from audit_corpus import VECTOR, Body, Case, check_twins, in_hosts
from torch import nn

import thinned
from thinned.audits.source import audit_text


def cases() -> Iterator[Case]:
    sites = {
        "flag": lambda wrong, p: Body(lambda m, x: F.dropout(x, m.training if wrong else p, m.training)),
        "true": lambda wrong, p: Body(lambda m, x: F.dropout(x, wrong or p, training=m.training)),
        "module": lambda wrong, p: nn.Dropout(1.0 if wrong else p),
    }
    yield from in_hosts("TD308", sites, rates=(0.2,))


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


def test_the_fix_names_the_argument_that_was_meant() -> None:
    body = lambda m, x: m.head(F.dropout(m.line(x), m.training))  # noqa: E731
    model = Body(body, line=nn.Linear(12, 8), head=nn.Linear(8, 2))
    [finding] = thinned.audit(model, VECTOR)
    assert (finding.code, finding.severity) == ("TD308", "error")
    assert "training=self.training" in finding.fix


@pytest.mark.parametrize(
    ("call", "codes"),
    [
        ("F.dropout(x, self.training)", ["TD308"]),
        ("F.dropout(x, p=1.0, training=self.training)", ["TD308"]),
        ("F.dropout(x, True, self.training)", ["TD308"]),
        ("F.dropout(x, training=self.training)", []),
        ("F.dropout(x, 0.9, self.training)", ["TD304"]),
        ("F.dropout(x, self.p, self.training)", []),
    ],
)
def test_reading(call: str, codes: list[str]) -> None:
    text = f"import torch.nn.functional as F\nclass M:\n    def forward(self, x):\n        return {call}\n"
    assert [finding.code for finding in audit_text(text)] == codes


def test_a_rate_of_zero_in_evaluation_is_no_mistake() -> None:
    assert not thinned.audit(Body(lambda m, x: F.dropout(x, 0.3 * m.training) @ torch.eye(12)), VECTOR)
