"""The lines of code that build a saved network again."""

import keyword
from typing import NamedTuple

from thinned.errors import InputError
from thinned.import_path import import_object
from thinned.studies.recommended_network.metadata import WEIGHTS, Loading, NetworkMetadata

__all__ = ["code_lines", "is_importable"]

_OWN_NAMES = ("Path", "folder", "load_file", "load_model", "network", "thinned")
_IMPORTS: dict[Loading, str] = {
    "load_state_dict": "from safetensors.torch import load_file",
    "load_model": "from safetensors.torch import load_model",
    "load_network": "import thinned",
}


class _Source(NamedTuple):
    """The line that imports the function that builds a network, and the expression that it has then."""

    line: str
    expression: str


def is_importable(network: str, build: object) -> bool:
    """Tell whether other programs can import a function under its name ``module:function``."""
    if network.startswith("__main__:") or "<" in network:
        return False
    try:
        return bool(import_object(network, "the network") == build)
    except InputError:
        return False


def code_lines(about: NetworkMetadata, folder: str) -> str:
    """The lines that build a saved network again.

    Args:
        about: describes the network.
        folder: a Python expression for the path of its folder.
    """
    source = _source(about)
    load = {
        "load_state_dict": [
            f"network = {source.expression}()",
            f'network.load_state_dict(load_file(folder / "{WEIGHTS}"))',
            "network.eval()",
        ],
        "load_model": [
            f"network = {source.expression}()",
            f'load_model(network, folder / "{WEIGHTS}")  # tensors that parts share are in the file once',
            "network.eval()",
        ],
        "load_network": [f"network = thinned.load_network(folder, {source.expression})"],
    }[about.loading]
    head = ["from pathlib import Path", "", _IMPORTS[about.loading], "", source.line, "", f"folder = {folder}"]
    further = [
        "",
        "# thinned.load_network(folder, build) gives it the dropout of the study as well, to train it further",
    ]
    rest = [] if about.loading == "load_network" else further
    return "\n".join([f"# {_one_line(about)}", *head, *load, *rest, ""])


def _one_line(about: NetworkMetadata) -> str:
    if about.epochs is None:
        text = f"{about.label}: trained by {about.train} on {about.examples:,} examples, while the others validated"
    else:
        epochs = f"{about.epochs} epoch{'s' if about.epochs != 1 else ''}"
        text = f"{about.label}: trained on all {about.examples:,} examples for {epochs}"
    return "".join(character if character.isprintable() else " " for character in text)


def _source(about: NetworkMetadata) -> _Source:
    module, _, name = about.network.partition(":")
    root, dot, rest = name.partition(".")
    if not about.importable:
        return _Source("# build is the function that the study had as network=; it can't be imported", "build")
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in [*module.split("."), root]):
        return _Source(f"build = getattr(__import__({module!r}, fromlist=[{root!r}]), {root!r}){dot}{rest}", "build")
    if root in _OWN_NAMES:
        return _Source(f"from {module} import {root} as build", f"build{dot}{rest}")
    return _Source(f"from {module} import {root}", name)
