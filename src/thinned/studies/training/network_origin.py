"""What a shard of a study of a network of one's own was made of, so that its store can be merged."""

import dataclasses
from collections.abc import Callable

import msgspec
import numpy as np

from thinned.errors import InputError, sentence
from thinned.import_path import import_path
from thinned.studies.design.own_network.options import NetworkOptions

__all__ = ["NetworkOrigin", "network_origin"]

_PLAIN = (str, int, float, bool, type(None))


class NetworkOrigin(msgspec.Struct, frozen=True):
    """What a shard was made of.

    Attributes:
        shard: which share, as "3/16".
        data: path of the examples, or None.
        network: path of the function that builds the network, or None.
        options: the options that differ from their defaults, functions by their paths.
        lost: what can't be written down.
    """

    shard: str
    data: str | None
    network: str | None
    options: dict[str, object]
    lost: tuple[str, ...]


def network_origin(shard: str, data: object, network: object, options: NetworkOptions) -> NetworkOrigin:
    """Describe what a shard is made of."""
    kept: dict[str, object] = {}
    lost = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, _PLAIN) and value == field.default:
            continue
        try:
            kept[field.name] = _plain(value)
        except InputError:
            lost.append(field.name)
    paths: dict[str, str | None] = {}
    for name, value in (("data", data), ("network", network)):
        try:
            paths[name] = value if isinstance(value, str) else _path(value)
        except InputError:
            paths[name] = None
            lost.insert(0, name)
    return NetworkOrigin(shard, paths["data"], paths["network"], kept, tuple(lost))


def _plain(value: object) -> object:
    """The value as JSON types; a function as its path.

    Raises:
        InputError: there is no such form of it.
    """
    if isinstance(value, range) or hasattr(value, "__array__"):  # groups and times: also tensors, and a table's columns
        value = np.asarray(value).tolist()
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, _PLAIN) else _path(value)


def _path(value: object) -> str:
    if not callable(value):
        raise InputError(sentence("an option of a shard must be plain, or a function", f"got {type(value).__name__}"))
    function: Callable[..., object] = value
    path = import_path(function, "the function")
    if path.startswith("__main__:"):
        raise InputError(sentence("a function of a shard must be importable", f"got {path}"))
    return path
