"""TD105: validation of a model that is in training mode."""

import pytest

from thinned.audits.source import audit_text

TRAINING = """
import torch

def fit(model, batches, validation, optimizer):
    for epoch in range(9):
        for x, y in batches:
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
        print(score(model, validation))
"""

WRONG = {
    "block": "def score(model, data):\n    with torch.no_grad():\n        return sum(model(x) for x in data)",
    "inference": "def score(net, data):\n    with torch.inference_mode():\n        return net(data)",
    "decorator": "@torch.no_grad()\ndef score(model, data):\n    return sum(model(x) for x in data)",
    "set_grad": "def score(net, data):\n    with torch.set_grad_enabled(False):\n        return net(data)",
    "function": "def run(model, x):\n    return model(x)\ndef score(m, x):\n    with torch.no_grad():\n        run(m)",
    "attribute": "class T:\n    def score(self, x):\n        with torch.no_grad():\n            return self.model(x)",
}

RIGHT = {
    "eval": "def score(model, x):\n    model.eval()\n    with torch.no_grad():\n        return model(x)",
    "train(False)": "def score(m, x):\n    m.train(False)\n    with torch.no_grad():\n        return model(x)",
    "teacher": "def score(model, teacher, x):\n    with torch.no_grad():\n        return teacher(x)",
    "update": "def score(model, x):\n    with torch.no_grad():\n        x.add_(1)\n    return model(x)",
}


@pytest.mark.parametrize("kind", WRONG)
def test_validation_without_eval_is_found(kind: str) -> None:
    [finding] = [finding for finding in audit_text(TRAINING + WRONG[kind]) if finding.code == "TD105"]
    assert finding.severity == "warning"
    assert ".eval()" in finding.fix


@pytest.mark.parametrize("kind", RIGHT)
def test_near_but_right(kind: str) -> None:
    assert "TD105" not in {finding.code for finding in audit_text(TRAINING + RIGHT[kind])}


STUDENT = """
teacher.eval()
optimizer = torch.optim.Adam([{"params": student.parameters()}, {"params": criterion.parameters()}])
for x, y in batches:
    student.train()
    with torch.no_grad():
        target = teacher(x)
    criterion(student(x), target).backward()
with torch.no_grad():
    loss = criterion(student(x), y)
"""


def test_a_model_of_any_name_is_one_that_an_optimiser_trains() -> None:
    [finding] = audit_text("import torch\n" + STUDENT)
    assert (finding.code, finding.data["model"]) == ("TD105", "student")
    assert (
        audit_text(
            "import torch\n" + STUDENT.replace("with torch.no_grad():\n    loss", "student.eval()\nif 1:\n    loss")
        )
        == []
    )


def test_eval_of_another_name_may_be_the_same_model() -> None:
    other = "def score(m, x):\n    m.eval()\n"
    assert audit_text("import torch\n" + STUDENT.replace("teacher.eval()", other)) == []


def test_a_file_that_does_not_train_is_left_alone() -> None:
    assert audit_text("import torch\n" + WRONG["block"]) == []
