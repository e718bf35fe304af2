"""The report of a network of one's own: its sites, the pilot, and how it was measured."""

import dataclasses
import io
import re
from html import escape
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console
from study_cases import make_records, noisy, own_plan, trained_networks, typed

from thinned.studies.analysis.analyse import Content, results_of
from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.api import Study
from thinned.studies.design.plan import Plan
from thinned.studies.report import html
from thinned.studies.report.network_sites import site_rows
from thinned.studies.report.terminal import print_study
from thinned.studies.results import DataSummary, NetworkSummary, PilotSetting, PilotSummary, Results, RunSummary
from thinned.studies.training.records import ExampleLosses

HOSTILE = "<script>alert(1)</script>"
PILOT = PilotSummary(
    networks=26,
    seeds=2,
    settings=(PilotSetting(label=HOSTILE, dropout=0.1, validation=(0.25, 0.75), best_epoch=3.5, chosen=True),),
    nested=910,
)


def make_results(plan: Plan, trained: TrainedNetworks, pilot: PilotSummary | None = PILOT) -> Results:
    data = DataSummary(
        name=HOSTILE, rows=100, columns=0, target="", task="multiclass", classes={HOSTILE: 100}, sha256="", read_as={}
    )
    run = RunSummary(
        networks=70,
        left_out=(),
        seconds=1.0,
        networks_per_second=70.0,
        finished="2026-11-26T00:00:00+00:00",
        threads=2,
        versions={},
        command=None,
    )
    content = results_of(trained, Content(data, plan, run, [], [80], 0.1))
    return content if pilot is None else msgspec.structs.replace(content, pilot=pilot)


@pytest.fixture
def plan() -> Plan:
    return own_plan(epochs=20, network="mypackage:build")


@pytest.fixture
def page(plan: Plan) -> str:
    gains = [0.1 * (setting.drops) for setting in plan.settings]
    return html.render(make_results(plan, trained_networks(noisy(plan, gains, 0.01, 1), plan)))


def text(page: str) -> str:
    """The words between <body> and the scripts."""
    body = page.partition("<body>")[2].partition("<script")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_sites_stand_in_their_order_with_the_effect_of_their_group(plan: Plan) -> None:
    gains = [0.3 if setting.drops else 0.0 for setting in plan.settings]
    results = make_results(plan, trained_networks(noisy(plan, gains, 0.01, 1), plan))
    rows = site_rows(results)
    assert [row.names for row in rows] == [["drop1"], ["drop2"], ["forward"], ["drop3"]]
    assert [row.rates for row in rows] == ["0.1", "0.2", "0.3", "0.5"]
    assert rows[0].shapes == "4 × 8 × 8"
    effects = [row.effect for row in rows]
    assert [effect.arm for effect in effects if effect is not None] == [
        *["without_convolutional"] * 2,
        *["without_fully_connected"] * 2,
    ]


def test_everything_of_the_pilot_is_told_and_escaped(page: str) -> None:
    assert HOSTILE not in page.partition('<script type="application/json"')[0]
    told = text(page)
    assert "26 networks of a pilot, 2 for each setting" in told
    assert "96 networks were trained; every setting on every split would have taken 910" in told
    assert "0.25, 0.75" in told
    assert "Does dropout help the network mypackage:build ?" in told


def test_nothing_speaks_of_tables(page: str) -> None:
    told = text(page)
    for word in ("column", "--column", "hidden layers of", "early stopping alone"):
        assert word not in told
    assert "100 examples" in told
    assert "Right of 0 it beats no regularisation, at its best validation epoch." in told


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_given_test_set_is_told_with_its_seeds(seeds: int) -> None:
    plan = own_plan(["dropout"], folds=1, seeds=seeds, epochs=20, network="mypackage:build")
    assert plan.own is not None
    plan = dataclasses.replace(plan, own=dataclasses.replace(plan.own, test_examples=40))
    rng = np.random.default_rng(1)

    def of(repeat: int, fold: int, setting: int) -> dict[str, object]:
        losses = rng.normal(1.0, 0.1, 40).astype("<f4")
        raw = losses.tobytes()
        return {"test": float(losses.mean()), "example_losses": {"best": raw, "end": raw}}

    records = make_records(plan, of)
    networks = typed(records)
    assert all(isinstance(network.example_losses, ExampleLosses) for network in networks)
    told = text(html.render(make_results(plan, TrainedNetworks(networks, plan, 0.4), None)))
    assert "For scores besides loss test examples are drawn with replacement, the same for all networks." in told
    assert f"mean over {seeds} seeds and the test examples" in told
    assert ("All intervals come from 3 seeds" in told) == (seeds == 3)
    assert "All networks are scored on the given 40 examples" in told
    assert "pilot" not in told


def test_the_network_that_is_left(plan: Plan) -> None:
    """Its lines stand there as they are, or the reason why there is none; nothing of them is markup."""
    content = make_results(plan, trained_networks(noisy(plan, [0.0] * len(plan.settings), 0.01, 1), plan))
    left = NetworkSummary(
        label=HOSTILE, epochs=1, examples=1200, lines=f"# {HOSTILE}\nnetwork = build()\n", failure=None
    )
    page = html.render(msgspec.structs.replace(content, network=left))
    assert "<code># &lt;script&gt;alert(1)&lt;/script&gt;\nnetwork = build()\n</code>" in page
    assert HOSTILE not in page
    assert "on all 1,200 examples and from a seed of its own" in text(page)
    assert "it was trained for 1 epoch, the median" in text(page)
    assert '<a href="#left">Its weights are saved.</a>' in page
    page = html.render(msgspec.structs.replace(content, network=msgspec.structs.replace(left, epochs=None)))
    assert "by your training function. It got 1,200 examples and the others to validate. Its folder" in text(page)
    failed = msgspec.structs.replace(left, lines=None, failure=f"It diverged {HOSTILE}")
    page = html.render(msgspec.structs.replace(content, network=failed))
    assert "There is none. It diverged &lt;script&gt;" in text(page)
    assert 'href="#left"' not in page
    assert "The network to use" not in html.render(content)


def test_a_notebook_shows_the_verdict_and_the_settings_escaped(plan: Plan) -> None:
    gains = [0.1 * (setting.drops) for setting in plan.settings]
    results = make_results(plan, trained_networks(noisy(plan, gains, 0.01, 1), plan))
    verdict = msgspec.structs.replace(results.verdict, headline=HOSTILE)
    shown = Study(Path("run"), msgspec.structs.replace(results, verdict=verdict))._repr_html_()
    assert escape(HOSTILE) in shown
    assert HOSTILE not in shown
    assert all(escape(setting.label) in shown for setting in results.settings)


def test_the_terminal_does_not_show_the_loss_of_a_classifier_twice(plan: Plan, tmp_path: Path) -> None:
    content = make_results(plan, trained_networks(noisy(plan, [0.1] * len(plan.settings), 0.01, 1), plan))
    console = Console(width=100, file=io.StringIO(), record=True)
    print_study(content, tmp_path / "report.html", console)
    [heading] = [line for line in console.export_text().splitlines() if line.startswith("arm ")]
    assert heading.split()[-2:] == ["Loss", "ROC-AUC"]


def test_a_report_of_a_network_speaks_of_examples(page: str) -> None:
    """A network of one's own has examples, which need not be rows of a table."""
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL))
    assert "training examples" in text
    assert re.findall(r"[^.]*\brows?\b[^.]*", text) == []
