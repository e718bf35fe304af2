"""``results.json``: sealed when it is written, and read only if it is whole and as it was written."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema

from thinned.errors import InputError, sentence

__all__ = ["SCHEMA", "read", "seal"]

SCHEMA = 2
_AGAIN = "run the study's command again in its folder, which writes the file anew"


def seal(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results with their checksum, which tells a changed file from the study's own; it is no signature."""
    content = {name: value for name, value in results.items() if name != "checksum"}
    text = json.dumps(content, sort_keys=True)
    return {**content, "checksum": hashlib.sha256(text.encode()).hexdigest()[:16]}


def read(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The results of a finished study, as ``results.schema.json`` describes them.

    Raises:
        InputError: there are none, another version of them, or they are not as the study wrote them.
    """
    path, study = Path(folder) / "results.json", f"{folder} must be the folder of a finished study"
    try:
        held: Any = json.loads(path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(sentence(study, f"reading {path} failed: {error}")) from None
    version = held.get("schema") if isinstance(held, dict) else None
    if type(version) is not int:
        raise InputError(sentence(study, f"{path} holds something else"))
    if version != SCHEMA:
        remedy = "use the version of thinned that wrote it, or run the study again in a new folder"
        raise InputError(sentence(f"results must be of schema {SCHEMA}", f"{path} is of schema {version}", remedy))
    sealed = held.get("checksum") == seal(held)["checksum"]
    fault = next(_faults(held), None) if sealed else "it was changed since"
    if fault is not None:
        raise InputError(sentence(f"{path} must be as the study wrote it", fault, _AGAIN))
    return dict(held)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds {text[:40]}, which is no number")
    return value


@cache
def _validator() -> Any:
    text = resources.files("thinned.studies").joinpath("results.schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def _faults(results: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong: first with its parts, then with how they refer to each other."""
    for error in _validator().iter_errors(results):
        yield f"{error.json_path} is not as it should be"  # the message of jsonschema would repeat the whole value
        return
    plan, settings = results["plan"], results["settings"]
    known, splits = [setting["index"] for setting in settings], plan["folds"] * plan["seeds"]
    if results["selection"] not in results["metrics"]:
        yield "$.selection names no metric"
    if not {results["verdict"]["recommended"]["setting"], *known} <= {*range(len(plan["settings"]))}:
        yield "$.settings refer to settings that the plan does not have"
    if results["verdict"]["recommended"]["setting"] not in known:
        yield "$.verdict.recommended is not among the settings"
    curves = {len(curve) for setting in settings for curve in setting["curves"].values()}
    if len(curves) != 1:
        yield "$.settings have curves of different lengths"
    for arm in results["arms"]:
        for when in ("best", "end"):
            if len(arm[when]["chosen"]) != splits or not {*arm[when]["chosen"]} <= {*known}:
                yield f"$.arms have other splits or settings than the plan {when}"
    for entry in [*settings, *results["arms"]]:
        if any(entry[when]["scores"].keys() != results["metrics"].keys() for when in ("best", "end")):
            yield "$.metrics are not those of the scores"
    yield from _uneven(results["claims"])


def _uneven(claims: Mapping[str, Any]) -> Iterator[str]:
    """Lists that belong together and have different lengths."""
    together: list[tuple[str, list[Any], list[list[Any]]]] = []
    if rate := claims["rate"]:
        curves = [rate[when][part] for when in ("best", "end") for part in ("train", "validation", "test")]
        together.append(("rate", rate["rates"], curves))
    if sizes := claims.get("sizes"):
        together.append(("sizes", sizes["sizes"], list(sizes["gain"].values())))
    if units := claims.get("coadaptation"):
        together.append(("coadaptation", units["rates"], [units["dependence"]]))
        together.append(("coadaptation", units["removal"]["fractions"], list(units["removal"]["loss"].values())))
    for name, at, lists in together:
        if any(len(one) != len(at) for one in lists):
            yield f"$.claims.{name} has lists of different lengths"
