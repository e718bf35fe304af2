"""Chooses the arms of a study from names, and from arms that the user defines."""

import dataclasses
from collections.abc import Iterable, Sequence

from thinned.errors import InputError, sentence
from thinned.studies.design.arm import Arm
from thinned.studies.design.arms import ARMS, TECHNIQUES
from thinned.studies.design.definition import dropout_settings

__all__ = ["choose_arms"]


def choose_arms(
    chosen: Sequence[str | Arm] | None = None, rates: Sequence[float] | None = None, *, own_network: bool = False
) -> tuple[Arm, ...]:
    """Choose the arms of a study: "none" comes first, a mix last.

    Args:
        chosen: names of arms, and arms that the user defines; None takes all.
        rates: dropout rates of the arm "dropout"; None takes those of its definition.
        own_network: the user supplies the network; arms that change its structure are unavailable.

    Raises:
        InputError: a name is unknown or given twice, or an arm needs another structure than the user's network has.
    """
    known = dict(ARMS)
    if rates is not None:
        settings = dropout_settings(sorted({rate for rate in rates if rate}))
        known["dropout"] = dataclasses.replace(known["dropout"], settings=settings)
    everything = chosen is None and not own_network
    if chosen is None:
        chosen = [name for name, arm in known.items() if arm.kind == "mix" or not (own_network and _needs_own_mlp(arm))]
    none = next(arm for arm in known.values() if arm.kind == "reference")
    arms: dict[str, Arm] = {none.name: none}
    mixes: dict[str, Arm] = {}
    for arm in _found(chosen, known):
        same_kind = mixes if arm.kind == "mix" else arms
        if {**arms, **mixes}.get(arm.name, arm) != arm:
            raise InputError(sentence("arms must have different names", f"{arm.name!r} occurs twice"))
        if own_network and arm.kind != "mix" and _needs_own_mlp(arm):
            value, remedy = "the user supplies the network", "leave out the arm or the network"
            raise InputError(sentence(f"arm {arm.name!r} changes the network's structure", value, remedy))
        same_kind.setdefault(arm.name, arm)
    if len(arms) < 2:
        names = " and ".join(repr(arm.name) for arm in known.values() if arm.kind in ("reference", "mix"))
        raise InputError(sentence(f"a study must have an arm besides {names}", "got no other", "add dropout"))
    union = [setting for arm in arms.values() if not arm.warning for setting in arm.settings]
    for mix in mixes.values():
        mixed = dict.fromkeys([*union, *(mix.settings if everything else ())])
        arms[mix.name] = dataclasses.replace(mix, settings=tuple(mixed))
    return tuple(arms.values())


def _found(chosen: Iterable[str | Arm], known: dict[str, Arm]) -> Iterable[Arm]:
    for one in chosen:
        if not isinstance(one, Arm) and one not in known:
            raise InputError(sentence(f"arms must be among {', '.join(known)}", f"got {one!r}"))
        arm = one if isinstance(one, Arm) else known[one]
        for setting in arm.settings:
            unknown = [name for name, _ in setting.extras if name not in TECHNIQUES]
            if unknown:
                names = ", ".join(TECHNIQUES) or "none, as no arm defines a technique"
                raise InputError(sentence(f"extras of a setting must be among {names}", f"got {unknown[0]!r}"))
        yield arm


def _needs_own_mlp(arm: Arm) -> bool:
    return any(setting.needs_own_mlp for setting in arm.settings)
