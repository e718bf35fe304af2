"""The plug-in of pytest: a fixture that audits a model.

It stands outside ``thinned``, which imports torch: collecting tests must not wait for that.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from torch import nn

    from thinned import Audit

__all__ = ["thinned_audit"]


@pytest.fixture(scope="session")
def thinned_audit() -> "Callable[..., Audit]":
    """Audit a model in a test: ``thinned_audit(model, args, kwargs=None, fail_on="warning", ignore=())``.

    The arguments are those of ``thinned.audit``. The test fails for findings at least as severe as ``fail_on``, with
    each finding's line and fix. The audit is returned.
    """
    return _audit_model


def _audit_model(
    model: "nn.Module",
    args: object,
    kwargs: Mapping[str, object] | None = None,
    *,
    fail_on: Literal["error", "warning", "info"] = "warning",
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    rows: int | None = None,
) -> "Audit":
    from thinned.audits import audit  # noqa: PLC0415 - imports torch
    from thinned.audits.findings import at_least  # noqa: PLC0415 - imports torch

    result = audit(model, args, kwargs, select=select, ignore=ignore, rows=rows)
    if result.with_severity(*at_least(fail_on)):
        pytest.fail(str(result), pytrace=False)
    return result
