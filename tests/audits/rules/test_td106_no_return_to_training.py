"""TD106: training that goes on in evaluation mode."""

import textwrap

import pytest

from thinned.audits.source import audit_text

VALIDATE = """
def validate(model, data):
    model.eval()
    return [model(x) for x in data]

def step(model, x, optimizer):
    model(x).mean().backward()
    optimizer.step()
"""

WRONG = {
    "function": "model.train()\nfor x in data:\n    step(model, x, optimizer)\n    validate(model, data)",
    "at once": "for x in data:\n    model(x).sum().backward()\n    if x > 1:\n        model.eval()\n        show(x)",
    "epochs": "for epoch in e:\n    for x in data:\n        step(model, x, optimizer)\n    validate(model, data)",
}

RIGHT = {
    "first": "for x in data:\n    model.train()\n    step(model, x, optimizer)\n    validate(model, data)",
    "behind": "for x in data:\n    step(model, x, optimizer)\n    validate(model, data)\n    model.train()",
    "end": "for x in data:\n    step(model, x, optimizer)\nvalidate(model, data)",
    "folds": "for f in folds:\n    model = build()\n    step(model, f, optimizer)\n    validate(model, data)",
    "stop": "for x in data:\n    model(x).backward()\n    if x > 1:\n        model.eval()\n        break",
    "teacher": "for x in data:\n    teacher.eval()\n    step(model, x, optimizer)",
    "evaluation": "for x in data:\n    validate(model, x)",
}


def codes(body: str) -> list[str]:
    text = VALIDATE + "\ndef fit(model, data, optimizer, folds, e):\n" + textwrap.indent(body, "    ")
    return [finding.code for finding in audit_text(text)]


@pytest.mark.parametrize("kind", WRONG)
def test_no_train_afterwards_is_found(kind: str) -> None:
    assert codes(WRONG[kind]) == ["TD106"]


@pytest.mark.parametrize("kind", RIGHT)
def test_near_but_right(kind: str) -> None:
    assert codes(RIGHT[kind]) == []


POLICY = """
optimizer = torch.optim.Adam(self.policy.parameters(), lr=1e-2)
for x in data:
    loss = self.policy(x).mean() + distance(self.policy(x), teacher(x))
    loss.backward()
    self.policy.eval()
    show(self.policy(x))
"""


def test_a_model_of_any_name_is_one_that_is_trained() -> None:
    [finding] = audit_text("import torch\n" + POLICY)
    assert (finding.code, finding.fix.partition("  ")[0]) == ("TD106", "self.policy.train()")


def test_a_teacher_stays_in_evaluation_mode() -> None:
    assert audit_text("import torch\n" + POLICY.replace("self.policy.eval()", "teacher.eval()")) == []
