"""What all rules have in common."""

from pathlib import Path

import pytest

from thinned.audits import RULES
from thinned.audits.rules import base


@pytest.mark.parametrize("code", RULES)
def test_a_rule_explains_itself(code: str) -> None:
    rule = RULES[code]
    assert rule.code == code
    assert rule.title()
    assert rule.severities
    assert all((rule.why, rule.source, rule.wrong, rule.right, rule.check.__doc__))
    assert not rule.why.endswith(".")


@pytest.mark.parametrize("code", RULES)
def test_a_rule_has_one_file_and_one_test_file(code: str) -> None:
    module = RULES[code].__module__.rpartition(".")[2]
    assert module.startswith(f"{code.lower()}_")
    assert (Path(__file__).parent / f"test_{module}.py").exists()


def test_a_code_belongs_to_one_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "REGISTERED", dict(base.REGISTERED))
    with pytest.raises(TypeError, match="TD101 is the code of ActiveInEvaluation; got Second as well"):
        type("Second", (base.Rule,), {"code": "TD101"})
