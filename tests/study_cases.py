"""Records of studies that were never trained, with what is true about them known."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from thinned.studies.analysis.analyse import analyse
from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.design.arm import Arm
from thinned.studies.design.choose_arms import choose_arms
from thinned.studies.design.own_network.network_arms import network_arms, network_questions
from thinned.studies.design.own_network.network_design import NetworkDesign
from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting
from thinned.studies.table.load import Table, load
from thinned.studies.training.records import TrainedNetwork

RATES = (0.1, 0.3, 0.5)
DECAYS = Arm("weight_decay", "weight decay", tuple(Setting(weight_decay=decay) for decay in (0.01, 0.1, 1.0)))


def make_plan(arms: Sequence[str | Arm] = ("dropout", DECAYS), rates: Sequence[float] = RATES, **changes: Any) -> Plan:
    """A plan whose setting 0 is none, followed by those of the arms in order; "arms" of arms alone are taken as is."""
    given = tuple(arm for arm in arms if isinstance(arm, Arm))
    plan = Plan(
        arms=given if len(given) == len(arms) and given[0].kind == "reference" else choose_arms(arms, rates),
        folds=5,
        seeds=2,
        hidden=(8,),
        epochs=20,
        batch_size=32,
        learning_rate=1e-3,
        seed=0,
        task="binary",
        data="",
        rows=5000,
    )
    return dataclasses.replace(plan, **changes)


def typed(records: Iterable[Mapping[str, Any]]) -> list[TrainedNetwork]:
    """Records of :func:`make_records` as the store gives them."""
    return [msgspec.convert(record, TrainedNetwork) for record in records]


def trained_networks(records: Iterable[Mapping[str, Any]], plan: Plan, share: float | None = None) -> TrainedNetworks:
    return TrainedNetworks(typed(records), plan, share)


def analysed(
    records: Iterable[Mapping[str, Any]], plan: Plan, table: Table | None = None, *, share: float | None = None
) -> dict[str, Any]:
    """Settings, arms, comparisons, verdict and warnings as ``results.json`` has them."""
    return as_json(analyse(trained_networks(records, plan, share), table)._asdict())


def as_json(content: Any) -> Any:
    """Entries of the results as the JSON file has them."""
    return json.loads(json.dumps(msgspec.to_builtins(content)))


def make_records(plan: Plan, of: Callable[[int, int, int], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``of(repeat, fold, setting)`` tells what differs from a network that gets its test and validation rows at 1."""
    name = "rmse" if plan.task == "regression" else "log_loss"
    records = []
    for repeat in range(plan.seeds):
        for fold in range(plan.folds):
            for setting in range(len(plan.settings)):
                told = {"train": 0.5, "validation": 1.0, "test": 1.0} | dict(of(repeat, fold, setting))
                at = {part: told.pop(part) for part in ("train", "validation", "test")}
                at["scores"] = {name: at["test"], "roc_auc": 0.8} | ({"loss": at["test"]} if plan.own else {})
                curves = {part: [1.0] * plan.epochs for part in ("train", "validation")}
                record = {"repeat": repeat, "fold": fold, "setting": setting, "size": 0, "best_epoch": 10}
                records.append(record | {"best": at, "end": at, "curves": curves} | told)
    return records


def noisy(plan: Plan, gains: Sequence[float], noise: float, seed: int, shared: float = 0.0) -> list[dict[str, Any]]:
    """Each setting takes its gain off a loss of 1, on validation rows exactly, on test rows with normal noise.

    ``shared`` is the noise of a split, common to all of its settings.
    """
    rng = np.random.default_rng(seed)
    shape = plan.seeds, plan.folds, len(gains)
    tests = 1 - np.array(gains) + noise * rng.normal(size=shape) + shared * rng.normal(size=(*shape[:2], 1))

    def of(repeat: int, fold: int, setting: int) -> dict[str, float]:
        return {"test": float(tests[repeat, fold, setting]), "validation": 1 - gains[setting]}

    return make_records(plan, of)


def own_plan(chosen: Sequence[str] | None = None, **changes: Any) -> Plan:
    """A plan of a network of one's own with four sites in two groups, whose rates differ."""
    sites = (
        NetworkSite("drop1", "module", "convolutional", 0.1, (2, 4, 8, 8), "spatial", (2, 3)),
        NetworkSite("drop2", "module", "convolutional", 0.2, (2, 8, 4, 4)),
        NetworkSite("", "functional", "fully connected", 0.3, (2, 32)),
        NetworkSite("drop3", "module", "fully connected", 0.5, (2, 16)),
    )
    arms = network_arms(sites, chosen)
    design = NetworkDesign("nested", sites=sites, training=(("optimizer", "adamw"),), questions=network_questions(arms))
    return make_plan(**({"arms": arms, "hidden": (), "own": design} | changes))


def make_table(rows: int = 400, task: str = "binary", **columns: Any) -> Table:
    """A table whose target follows from one column; ``columns`` make others from the target and a generator."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=rows), "plan": rng.choice(["basic", "plus"], rows)})
    signal = frame["x"] + rng.normal(size=rows)
    frame["y"] = {
        "binary": np.where(signal > 0, "yes", "no"),
        "multiclass": np.select([signal < -1, signal < 1], ["low", "mid"], "high"),
        "regression": signal * 10,
    }[task]
    for name, make in columns.items():
        frame[name] = make(frame["y"], rng)
    return load(frame, "y")
