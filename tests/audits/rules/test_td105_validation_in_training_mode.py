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


def test_a_file_that_does_not_train_is_left_alone() -> None:
    assert audit_text("import torch\n" + WRONG["block"]) == []
