"""Recall and precision of every rule on models with planted mistakes and their correct twins."""

import warnings
from collections import Counter

import pytest
import torch
from audit_corpus import corpus

import thinned
from thinned.audits import RULES


@pytest.fixture(scope="module")
def counted() -> tuple[Counter[str], Counter[str], Counter[str]]:
    """By code: mistakes planted, mistakes found, and findings of what was not planted."""
    planted, found, false = Counter(), Counter(), Counter()
    for case in corpus():
        for wrong in (True, False):
            torch.manual_seed(1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own of a one-layer LSTM
                model = case.build(wrong)
            codes = {f.code for f in thinned.audit(model, case.x, **case.options(wrong)).of("error", "warning")}
            planted[case.code] += wrong
            found[case.code] += wrong and case.code in codes
            for code in codes - ({case.code} if wrong else set()):
                false[code] += 1
    return planted, found, false


def test_the_corpus_has_every_rule_that_warns(counted):
    planted, _, _ = counted
    assert sum(planted.values()) >= 200
    assert set(planted) == {code for code, rule in RULES.items() if set(rule.severities) - {"info"}}
    assert min(planted.values()) >= 12


@pytest.mark.parametrize("code", [code for code, rule in RULES.items() if set(rule.severities) - {"info"}])
def test_recall_and_precision(counted, code):
    planted, found, false = counted
    assert found[code] >= 0.95 * planted[code]
    assert found[code] >= 0.95 * (found[code] + false[code])
