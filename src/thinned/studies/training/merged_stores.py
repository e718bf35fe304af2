"""The stores of shards, put together."""

from collections.abc import Sequence
from pathlib import Path

from thinned.errors import InputError, sentence
from thinned.studies.training.store import Store, StoredRun

__all__ = ["add_networks", "check_same"]


def check_same(parts: Sequence[StoredRun], folders: Sequence[Path]) -> None:
    """Refuse shards of different plans, versions or instruction sets.

    Raises:
        InputError: two differ.
    """
    first, folder = parts[0], folders[0]
    for other, other_folder in zip(parts, folders, strict=True):
        if first.shown != other.shown:
            names = sorted(name for name in first.shown if first.shown[name] != other.shown.get(name))
            found = f"those of {folder} and {other_folder} differ in {', '.join(names) or 'their entries'}"
            raise InputError(sentence("shards must be of one plan", found, "run them with the same data and options"))
        for name in first.environment.keys() | other.environment.keys():
            one, two = first.environment.get(name), other.environment.get(name)
            if one != two:
                requirement = "shards must be trained with one set of versions and instructions"
                found = f"{name.replace('_', ' ')} is {one!r} in {folder} and {two!r} in {other_folder}"
                raise InputError(sentence(requirement, found, "run all shards on machines of one kind"))


def add_networks(store: Store, parts: Sequence[StoredRun]) -> None:
    """Put the networks of all parts into a store; those that it holds already stay."""
    finished = {network.member for network in store.networks()}
    for part in parts:
        new = [network for network in part.networks if network.member not in finished]
        if new:
            store.add(new, part.seconds)
            finished.update(network.member for network in new)
