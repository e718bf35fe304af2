"""``results.json`` as it comes from a disk: read strictly, and whatever is damaged in it is said in one sentence."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jsonschema.exceptions import ValidationError

from thinned._checks import InputError, sentence

__all__ = ["SCHEMA", "intact", "read_results"]

SCHEMA = 2


def read_results(folder: Path) -> dict[str, Any]:
    """The content of a finished study's ``results.json``.

    Raises:
        InputError: there is none, or it is not JSON of this schema with finite numbers.
    """
    path = folder / "results.json"
    requirement = f"{folder} must be the folder of a finished study"
    try:
        text = path.read_text(encoding="utf-8")
        results = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(sentence(requirement, f"reading {path} failed: {error}")) from None
    if not isinstance(results, dict) or "schema" not in results:
        raise InputError(sentence(requirement, f"{path} holds something else", "run `thinned study` first"))
    if results["schema"] != SCHEMA:
        seen = f"{path} is of schema {str(results['schema'])[:20]}"
        remedy = "use the version of thinned that wrote it, or run the study again"
        raise InputError(sentence(f"results must be of schema {SCHEMA}", seen, remedy))
    return results


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds {text[:20]}, which is no number")
    return value


@contextmanager
def intact(folder: Path) -> Iterator[None]:
    """Results from a disk may be anything: what fails for that reason is their fault, in one sentence.

    Raises:
        InputError: an entry is missing, or of another kind than a study writes.
    """
    try:
        yield
    except InputError:
        raise
    except (
        *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, StopIteration),
        *(TemplateError, ValidationError),  # of the page, of its charts
    ) as error:
        seen = f"an entry is missing or damaged ({type(error).__name__}: {str(error).strip()[:100]!r})"
        path = folder / "results.json"
        raise InputError(sentence(f"{path} must be as the study wrote it", seen, "run the study again")) from None
