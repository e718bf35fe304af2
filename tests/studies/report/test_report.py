"""The report: complete, safe with hostile text, and drawn by a real browser without a network."""

import copy
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Browser, Page
from typer.testing import CliRunner

import thinned
from thinned.errors import InputError
from thinned.studies import results
from thinned.studies.report import charts
from thinned.studies.report import html as report
from thinned.studies.results import Interval
from thinned.studies.wording import decimals_for
from thinned_cli.app import app

Results = dict[str, Any]
TASKS = ("binary", "multiclass", "regression")
HOSTILE = ["<script>alert(1)</script>", "</script>", "{{7*7}}", "\"'`><img src=x onerror=alert(1)>"]
HOSTILE += ["a\u2028b\u2029c", "{% raw %}&lt;"]
#: of the page's own: confidence, power, family-wise error, years of papers, zero and one that charts are read against
PROTOCOL = {"95", "80", "5", "2003", "2020", "2015", "1979", "0", "1"}


def frame(task: str, target: str = "y", classes: tuple[str, ...] = ("a", "b", "c")) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(150, 3))
    value = x @ [1.0, -1.0, 0.5] + rng.normal(size=150)
    code = np.digitize(value, [-0.7, 0.7]) if task == "multiclass" else (value > 0).astype(int)
    y = 1000 * value if task == "regression" else [classes[c] for c in code]
    return pd.DataFrame({"one": x[:, 0], "two": x[:, 1], "three": x[:, 2], target: y})


def about(mean: float, reach: float = 0.1) -> dict[str, float]:
    return {"mean": mean, "low": mean - reach, "high": mean + reach}


#: what a study of several sizes, and one with batch norm, find besides
CLAIMS: dict[str, Any] = {
    "sizes": {
        "sizes": [250, 500, 2000],
        "gain": {way: [about(0.1), about(0.2), about(0.3)] for way in ("dropout", "weight_decay", "early_stopping")},
        "threshold": 500,
        "holds": False,
        "sentence": "Dropout pays from 500 rows on: that it takes about 1,000 does not hold here.",
    },
    "coadaptation": {
        "measure": "mean absolute correlation of two hidden units",
        "source": "Cogswell et al. 2016",
        "rates": [0.0, 0.1, 0.5],
        "dependence": [about(0.3), about(0.2), about(0.25)],
        "removal": {
            "fractions": [0.0, 0.25, 0.5],
            "loss": {"0": [about(0.5), about(0.8), about(1.4)], "0.1": [about(0.5), about(0.6), about(0.8)]},
        },
        "best_rate": 0.1,
        "difference": about(0.1),
        "holds": None,
        "sentence": "Whether units depend less on each other cannot be told.",
    },
    "variance_shift": {
        "arms": [
            {
                "arm": "dropout_before_bn",
                "label": "dropout before batch norm",
                "rate": 0.5,
                "ratio": about(1.5),
                "loss_before": about(0.6),
                "loss_after": about(0.5),
                "repaired": about(0.15),
            }
        ],
        "holds": True,
        "sentence": "The variance shifts.",
    },
}
CHARTS = {"arms", "curves", "rates-best", "rates-end", "price", "dependence", "removal"}
NORMED = {"shift", "repair"}  # with batch norm
MORE = {"sizes", *NORMED}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Results]:
    """Real results, small: one study a task, made when first asked for; "binary" has every arm."""
    made: dict[str, Results] = {}

    def of(task: str) -> Results:
        if task not in made:
            few = task == "multiclass"
            made[task] = thinned.study(
                frame(task),
                "y",
                task=task,
                arms={"binary": None, "multiclass": ["dropout"], "regression": ["dropout", "weight_decay"]}[task],
                out=tmp_path_factory.mktemp(task) / "run",
                rates=(0.5,) if few else (0.1, 0.3, 0.5, 0.8),
                folds=3,
                seeds=1,
                hidden=(8,),
                epochs=1 if few else 6,
                command=None if few else "thinned study data.csv --target y",
            )
            made[task] = json.loads((made[task].folder / "results.json").read_text(encoding="utf-8"))
        return copy.deepcopy(made[task])

    return of


def render(found: Results) -> str:
    """The report of results as the file has them."""
    return report.render(results.parse(found))


def rich(study: Callable[[str], Results]) -> Results:
    found = study("binary")
    found["claims"] |= copy.deepcopy(CLAIMS)
    return found


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]\d+)?", text, flags=re.ASCII))


def values_of(spec: Any, key: str) -> list[Any]:
    """Every value under this name, anywhere in a specification."""
    if isinstance(spec, list):
        return [found for part in spec for found in values_of(part, key)]
    if not isinstance(spec, Mapping):
        return []
    return [found for name, part in spec.items() for found in ([part] if name == key else values_of(part, key))]


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from (leaf for pair in value.items() for part in pair for leaf in leaves(part))
    elif isinstance(value, list):
        yield from (leaf for part in value for leaf in leaves(part))
    else:
        yield value


def traceable(found: Results) -> set[str]:
    """Every way to write a number of the results, and what can be counted in them."""
    plan = found["plan"]
    splits = plan["folds"] * plan["seeds"]
    counts = {splits, len(plan["settings"]), len(plan["arms"]), *range(1, plan["epochs"] + 1), *range(splits + 1)}
    counts |= {*range(len(found["warnings"]) + 1)}
    known = PROTOCOL | {str(count) for count in counts}
    for leaf in leaves(found):
        if isinstance(leaf, str):
            known |= numbers(leaf)
        elif leaf is not None:
            known |= {f"{abs(leaf):,.{places}f}" for places in range(9)}
            known |= numbers(f"{leaf:g} {leaf:.2g} {leaf:.3g} {100 * leaf:.0f}")
            known |= {"0.001", "99"}  # a p value below, a probability above
    return known


@pytest.mark.parametrize("task", TASKS)
def test_the_verdict_comes_first_and_every_section_follows(study, task):
    found = study(task)
    html = render(found)
    page = Page(html)
    order = [found["verdict"]["headline"], found["verdict"]["recommended"]["reason"], "Networks trained"]
    order += ["All arms in one picture", *(["Warnings"] if found["warnings"] else [])]
    order += ["Common claims about dropout", "Every question and its answer", "Learning curves", "All settings"]
    order += ["How this was measured"]
    places = [page.text.index(text) for text in order]
    assert places == sorted(places)
    assert html.index("</h1>") < html.index("data-chart")
    assert sum(tag == "h1" for tag, _ in page.tags) == 1


@pytest.mark.parametrize("task", TASKS)
def test_no_number_comes_from_elsewhere(study, task):
    found = rich(study) if task == "binary" else study(task)
    page = Page(render(found))
    said = " ".join([page.text, *page.having("aria-label")])
    assert numbers(said) - traceable(found) == set()


@pytest.mark.parametrize("task", TASKS)
def test_tables_hold_each_arm_setting_score_and_question(study, task):
    found = study(task)
    text = " ".join(Page(render(found)).text.split())
    for entry in [*found["arms"], *found["settings"]]:
        assert entry["label"] in text
    for arm in found["arms"]:
        for name, metric in found["metrics"].items():
            score = arm["best"]["scores"][name]
            written = {f"{score['mean']:,.{places}f}".replace("-", "\N{MINUS SIGN}") for places in range(9)}
            assert written & set(text.split()), (arm["name"], name)
            assert metric["label"] in text
    for comparison in found["comparisons"]:
        assert comparison["question"] in text
        assert comparison["sentence"].replace("\u00a0", " ") in text
    for warning in found["warnings"]:
        assert warning["message"].replace("\u00a0", " ") in text
        assert warning["next_step"] in text


@pytest.mark.parametrize("task", TASKS)
def test_chart_data_are_the_results_own(study, task):
    found = study(task)
    specs = Page(render(found)).specs
    assert set(specs) == CHARTS | (NORMED if task == "binary" else set())
    curves = specs["curves"]["datasets"]["curves"]
    for number, setting in enumerate(found["settings"]):
        for part, curve in setting["curves"].items():
            assert [r["loss"] for r in curves if r["at"] == number and r["part"] == part] == [curve]
    rows = specs["arms"]["datasets"]["arms"]
    assert len(rows) == 2 * len(found["arms"])
    for arm in found["arms"]:
        for when in ("best", "end"):
            row = next(r for r in rows if r["arm"].lstrip("⚠✓ ") == arm["label"] and r["when"] == when)
            assert {key: row[key] for key in ("mean", "low", "high")} == arm[when]["improvement"]
    for when in ("best", "end"):
        losses = specs[f"rates-{when}"]["datasets"]["losses"]
        for row in losses:
            at = found["claims"]["rate"]["rates"].index(row["x"])
            interval = found["claims"]["rate"][when][row["of"]][at]
            assert {key: row[key] for key in ("mean", "low", "high")} == interval


def test_the_picture_has_the_best_arm_on_top_and_marks_warned_and_recommended_ones(study):
    found = study("binary")
    specs = Page(render(found)).specs
    rows = sorted((r for r in specs["arms"]["datasets"]["arms"] if r["when"] == "best"), key=lambda r: r["row"])
    assert [r["mean"] for r in rows] == sorted((r["mean"] for r in rows), reverse=True)
    marks = {r["arm"][0] for r in rows if not r["arm"][0].isalpha()}
    assert marks == {"⚠", "✓"}
    assert "⚠ dropout on the output" in {r["arm"] for r in rows}
    rope = found["comparisons"][0]["rope"]
    assert specs["arms"]["datasets"]["equal"] == [{"low": -rope, "high": rope}]


@pytest.mark.parametrize(
    ("low", "high", "where"), [(0.1, 0.2, "right"), (-0.1, 0.2, "across"), (-0.2, -0.1, "left"), (0.0, 0.1, "across")]
)
def test_an_interval_is_coloured_by_the_side_on_which_it_lies(low, high, where):
    assert charts.side_name(Interval(mean=(low + high) / 2, low=low, high=high)) == where


@pytest.mark.parametrize(("task", "name", "is_bounded"), [("binary", "log_loss", True), ("regression", "r2", False)])
def test_limits_in_a_table_lie_among_the_values_that_a_score_can_have(study, task, name, is_bounded):
    found = study(task)
    found["arms"][0]["best"]["scores"][name] = {"mean": 0.2, "low": -5.4321, "high": 0.9}
    assert bool(re.search(r"<small>\[−5\.4\d*, 0\.9", render(found))) is not is_bounded


def test_losses_in_a_table_are_at_least_0(study):
    found = study("regression")
    found["settings"][0]["best"]["test"] = {"mean": 0.2, "low": -5.4321, "high": 0.9}
    assert not re.search(r"<small>\[−5\.4", render(found))


@pytest.mark.parametrize("task", TASKS)
def test_axes_say_what_they_measure(study, task):
    specs = json.dumps(Page(render(study(task))).specs, ensure_ascii=False)
    unit = "squared error (target variances)" if task == "regression" else "cross-entropy (nats)"
    assert unit in specs
    assert "share of hidden units dropped" in specs
    assert "no dropout" in specs


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        ("helps", "Yes, it helps"),
        ("hurts", "No, it hurts"),
        ("practically equal", "No difference that matters"),
        ("not enough evidence", "Not enough evidence"),
    ],
)
def test_the_outcome_is_in_words(study, outcome, word):
    found = study("regression")
    found["verdict"]["outcome"] = outcome
    assert word in Page(render(found)).text


@pytest.mark.parametrize(
    ("holds", "word"), [(True, "Holds here."), (False, "Does not hold here."), (None, "Cannot be decided here.")]
)
def test_each_claim_may_fail(study, holds, word):
    found = rich(study)
    for claim in found["claims"].values():
        claim["holds"] = holds
    found["claims"]["rate"]["best"]["underfits_from"] = None
    found["claims"]["variance_shift"]["arms"][0]["ratio"] = about(1.0)
    text = Page(render(found)).text
    assert text.count(word) == 5
    for claim in found["claims"].values():
        assert claim["sentence"] in text


@pytest.mark.parametrize(
    ("start", "holds", "word"),
    [
        (0.5, False, "Starts earlier here."),
        (0.8, False, "Does not hold here."),
        (0.5, None, "Cannot be decided here."),
        (0.8, True, "Holds here."),
    ],
)
def test_underfitting_below_the_claimed_rate_does_not_refute_that_rates_above_it_underfit(study, start, holds, word):
    found = study("regression")
    claim = found["claims"]["rate"]
    claim["holds"], claim["best"]["underfits_from"] = holds, start
    assert f"{word} {claim['sentence']}" in " ".join(Page(render(found)).text.split())


@pytest.mark.parametrize(
    ("ratio", "holds", "word"),
    [
        (1.5, True, "Holds here."),
        (1.5, None, "Holds in part here."),
        (1.5, False, "Holds in part here."),
        (1.05, None, "Cannot be decided here."),
        (0.8, False, "Does not hold here."),
    ],
)
def test_a_variance_that_shifts_without_a_cost_is_half_of_the_claim(study, ratio, holds, word):
    found = rich(study)
    claim = found["claims"]["variance_shift"]
    claim["arms"][0]["ratio"], claim["holds"] = about(ratio), holds
    assert f"{word} {claim['sentence']}" in " ".join(Page(render(found)).text.split())


def test_the_charts_of_losses_begin_at_zero_or_above(study):
    found = rich(study)
    for losses in (found["claims"]["coadaptation"]["removal"]["loss"]["0"], found["claims"]["rate"]["best"]["train"]):
        losses[1] = about(0.01, 0.5)
    specs = Page(render(found)).specs
    for name in ("rates-best", "removal"):
        assert min(row["low"] for row in specs[name]["datasets"]["losses"]) == 0
        domains = {tuple(d) for d in values_of(specs[name], "domain") if isinstance(d[0], float)}
        assert {low for low, _ in domains if low <= 0} == {0}
    [limits] = [p["value"] for [*ps] in values_of(specs["curves"], "params") for p in ps if p["name"] == "domains"]
    assert all(low >= 0 for low, _ in limits)


def test_a_score_of_the_users_own_may_be_negative():
    assert charts.axis_limits(-0.5, 0.5, -math.inf) == pytest.approx((-0.55, 0.55))
    assert charts.axis_limits(0.01, 1.01, 0.0) == pytest.approx((0.0, 1.06))


@pytest.mark.parametrize(("factor", "differs"), [(1.0, False), (1.2, False), (5.0, True)])
def test_another_vertical_scale_is_said_where_there_is_one(study, factor, differs):
    found = study("regression")
    rate = found["claims"]["rate"]
    for part in ("train", "validation", "test"):
        best = rate["best"][part]
        rate["end"][part] = [{key: factor * value for key, value in at.items()} for at in best]
    page = Page(render(found))
    domains = [values_of(page.specs[f"rates-{when}"], "domain") for when in ("best", "end")]
    assert ("on a different vertical scale" in page.text) is differs
    assert (domains[0] != domains[1]) is differs


def test_the_network_that_all_are_compared_with_has_no_improvement(study):
    found = study("binary")
    html = render(found)
    page = Page(html)
    arm = next(arm for arm in found["arms"] if arm["name"] == "none")
    setting = next(entry for entry in found["settings"] if entry["index"] == arm["best"]["chosen"][0])
    improvements = [arm["best"]["improvement"], arm["end"]["improvement"], *setting["improvement"].values()]
    assert arm["best"]["improvement"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert html.count("<td>reference</td>") == sum(not any(at.values()) for at in improvements)
    warning = next(arm["warning"] for arm in found["arms"] if arm.get("warning"))
    assert f"⚠ never recommended: {warning}" in page.text
    assert all(f"interval {where} 0" in page.text for where in ("above", "contains", "below"))


def test_a_claim_that_was_not_measured_has_no_panel(study):
    found = study("regression")
    found["claims"] = dict.fromkeys(("rate", "price", "sizes", "coadaptation", "variance_shift"))
    page = Page(render(found))
    assert set(page.specs) == {"arms", "curves"}
    assert "Common claims" not in page.text


def test_every_chart_has_a_description_and_a_table(study):
    page = Page(render(rich(study)))
    described = [a for tag, a in page.tags if a.get("role") == "img" and a.get("aria-label")]
    assert len(described) == len(page.having("data-chart")) == len(CHARTS | MORE)
    assert set(page.having("data-chart")) == set(page.specs) == CHARTS | MORE
    figures = " ".join(tag for tag, _ in page.tags if tag in ("figure", "figcaption", "details", "table"))
    assert figures.count("figure figcaption details table") == len(CHARTS | MORE) - 1  # the last two share theirs
    assert all("tabindex" in a and "aria-label" in a for _, a in page.tags if a.get("class", "").startswith("scroll"))
    assert all(a.get("scope") for tag, a in page.tags if tag == "th")


def test_arms_that_were_not_finished_in_time_are_named(study):
    found = study("regression")
    assert "Not finished in time" not in Page(render(found)).text
    found["run"]["left_out"] = ["late dropout", HOSTILE[0]]
    assert f"Not finished in time: late dropout, {HOSTILE[0]}." in " ".join(Page(render(found)).text.split())


def test_arms_that_were_not_tried_are_named_with_the_reason(study):
    found = study("regression")
    assert "not tried" not in Page(render(found)).text
    found["run"]["untried"] = {"spatial dropout": HOSTILE[0]}
    text = " ".join(Page(render(found)).text.split())
    assert f"Arms that were not tried spatial dropout {HOSTILE[0]}" in text


def test_warnings_of_a_kind_stand_together(study):
    found = study("regression")
    edge = {"code": "grid_edge", "title": "At an end", "next_step": "Extend the grid."}
    found["warnings"] = [edge | {"message": f"arm {letter} is at its edge"} for letter in "abcde"]
    text = Page(render(found)).text
    assert text.count("Extend the grid.") == 1
    assert "5 cases" in text
    assert all(f"arm {letter} is at its edge" in text for letter in "abcde")


def test_what_is_missing_leaves_no_trace(study):
    found = study("multiclass")
    found["warnings"] = []
    page = Page(render(found))
    assert "To reproduce" not in page.text
    assert "None" not in page.text
    assert "Warnings" not in page.text
    with_command = Page(render(study("regression")))
    assert "thinned study data.csv --target y" in with_command.text
    assert "Classes" not in with_command.text


def test_a_score_that_is_not_defined_is_a_dash(study):
    found = study("binary")
    for arm in found["arms"]:
        arm["best"]["scores"]["roc_auc"] = dict.fromkeys(("mean", "low", "high"))
    assert "None" not in Page(render(found)).text


@pytest.mark.parametrize(
    ("largest", "places"), [(0.0, 3), (2e-5, 6), (0.0097, 4), (0.32, 4), (1.5, 3), (56.19, 2), (412.5, 1), (3e6, 0)]
)
def test_small_numbers_keep_digits_and_large_ones_get_no_more(largest, places):
    assert decimals_for([largest / 3, -largest, None]) == places


def test_the_same_results_give_the_same_page(study):
    assert render(study("binary")) == render(study("binary"))


def hostile(study: Callable[[str], Results]) -> Results:
    found = rich(study)
    found["data"]["classes"] = dict.fromkeys(HOSTILE, 1)
    found["data"]["name"], found["data"]["target"] = HOSTILE[0], HOSTILE[3]
    found["data"]["read_as"] = dict.fromkeys(HOSTILE, "number")
    found["run"]["command"] = " ".join(HOSTILE)
    found["plan"]["group"] = HOSTILE[0]
    for metric in found["metrics"].values():
        metric["unit"] = metric["label"] = HOSTILE[1] + HOSTILE[0]
    for number, entry in enumerate([*found["arms"], *found["settings"]]):
        entry["label"] = HOSTILE[number % len(HOSTILE)]
    for claim in found["claims"].values():
        claim["sentence"] = "".join(HOSTILE)
    found["verdict"]["headline"] = "".join(HOSTILE)
    found["warnings"] = [{"code": text, "title": text, "message": text, "next_step": text} for text in HOSTILE]
    return found


def test_hostile_text_is_shown_as_text(study):
    found = hostile(study)
    page, clean = Page(render(found)), Page(render(study("binary")))
    for text in HOSTILE:
        assert text in page.text
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"] * 2
    assert not [a for _, a in page.tags for name in a if name.startswith("on")]
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert page.scripts[1] == clean.scripts[1]
    assert "\u2028" not in page.scripts[0]
    assert "<" not in page.scripts[0]


def test_hostile_names_pass_through_a_whole_study(tmp_path):
    data = frame("multiclass", target=HOSTILE[0], classes=(HOSTILE[1], HOSTILE[2], HOSTILE[3]))
    data = data.rename(columns={"one": HOSTILE[4]})
    options: dict[str, Any] = {"arms": ["dropout"], "rates": (0.5,), "folds": 2, "seeds": 1, "epochs": 1}
    done = thinned.study(data, HOSTILE[0], out=tmp_path / "run", **options)
    page = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert len(page.scripts) == 2
    assert all(name in page.text for name in done.results["data"]["classes"])


def test_nothing_is_loaded_from_elsewhere(study):
    page = Page(render(rich(study)))
    for attribute in ("src", "href", "srcset", "action", "poster", "data", "background"):
        values = [v for v in page.having(attribute) if v != "data:,"]
        assert [v for v in values if not v.startswith("#")] == []
        assert {v[1:] for v in values} <= set(page.having("id"))
    assert "url(" not in page.styles
    assert "@import" not in page.styles
    assert not [s for s in leaves(page.specs) if s in ("url", "href")]
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy


@pytest.mark.parametrize("styles", [charts.PARTS, {k: (c, (1, 0), s) for k, (c, s) in charts.SIDES.items()}])
def test_series_differ_in_more_than_colour(styles):
    colours, dashes, shapes = zip(*styles.values(), strict=True)
    assert len(set(colours)) == len(set(shapes)) == len(styles)
    assert len(set(dashes)) in (1, len(styles))


# --- in a browser ------------------------------------------------------------------------------------------------

SIZES = """[...document.querySelectorAll("[data-chart] svg")].map(svg => {
    const box = svg.getBoundingClientRect(); return [box.width, box.height] })"""
MARKS = """[...document.querySelectorAll("[data-chart]")].map(place =>
    place.querySelectorAll(".mark-line path, .mark-rule line").length)"""
FRAME = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
INK = "getComputedStyle(document.querySelector('[data-chart] .role-axis-title text')).fill"
#: names of the rows that lie over one another or leave their chart
CLASHES = """[...document.querySelectorAll("[data-chart]")].flatMap(place => {
    const edge = place.querySelector("svg").getBoundingClientRect();
    const boxes = [...place.querySelectorAll(".role-mark text")].map(text => text.getBoundingClientRect());
    return boxes.filter((a, i) => a.left < edge.left - 1 || a.right > edge.right + 1 || boxes.slice(i + 1).some(b =>
        a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3))
        .map(a => [place.dataset.chart, a.left, a.top, a.right, edge.left, edge.right]) })"""


def save(folder: Path, html: str) -> Path:
    page = folder / "report.html"
    page.write_text(html, encoding="utf-8")
    return page


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("task", TASKS)
def test_a_browser_draws_it_without_a_complaint(study, browser, tmp_path, task, width):
    found = rich(study) if task == "binary" else study(task)
    page = save(tmp_path, render(found))
    browser.show(page, width)
    assert browser.complaints == []
    assert browser.requests == [page.as_uri()]
    sizes = browser.value(SIZES)
    assert len(sizes) == len(CHARTS | MORE) if task == "binary" else len(CHARTS)
    assert all(250 < w <= width and h > 60 for w, h in sizes)
    assert all(browser.value(MARKS))
    assert browser.value(CLASHES) == []
    browser.value("document.querySelectorAll('details').forEach(d => { d.open = true })")
    content, window = browser.value(FRAME)
    assert content == window == width


def test_a_claim_out_of_reach_of_the_sizes_is_not_marked(study, browser, tmp_path):
    found = study("regression")
    found["claims"]["sizes"] = copy.deepcopy(CLAIMS["sizes"]) | {"sizes": [100, 200, 400]}
    browser.show(save(tmp_path, render(found)), 1280)
    assert browser.complaints == []
    assert "as is said" not in browser.value("document.querySelector('[data-chart=sizes]').textContent")


def test_a_browser_runs_nothing_of_hostile_text(study, browser, tmp_path):
    page = save(tmp_path, render(hostile(study)))
    browser.show(page, 1280)
    assert browser.complaints == []
    assert browser.requests == [page.as_uri()]
    assert len(browser.value(SIZES)) == len(CHARTS | MORE)
    names = browser.value("[...document.querySelectorAll('[data-chart=arms] .role-mark text')].map(t => t.textContent)")
    assert any(HOSTILE[0] in name for name in names)


def test_the_policy_stops_what_escaping_might_miss(study, browser, tmp_path):
    injected = "<img src='https://example.invalid/x.png'><script>window.stolen = 1</script></main>"
    browser.show(save(tmp_path, render(study("binary")).replace("</main>", injected)), 1280)
    assert len(browser.complaints) == 2
    assert browser.value("window.stolen === undefined")


def test_charts_follow_dark_and_paper(study, browser, tmp_path):
    page = save(tmp_path, render(study("binary")))
    seen = {}
    name = "getComputedStyle(document.querySelector('[data-chart=arms] .role-mark text')).fill"
    for look, scheme, media in (("light", "light", "screen"), ("dark", "dark", "screen"), ("paper", "dark", "print")):
        browser.show(page, 1280, scheme, media)
        seen[look] = *map(browser.value, (INK, name)), browser.value("getComputedStyle(document.body).backgroundColor")
    assert seen["light"] == seen["paper"] == ("rgb(22, 25, 29)", "rgb(22, 25, 29)", "rgb(255, 255, 255)")
    assert seen["dark"] == ("rgb(236, 239, 243)", "rgb(236, 239, 243)", "rgb(20, 23, 27)")


def press(browser: Browser, key: str, code: int) -> None:
    for event in ("rawKeyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=event, key=key, code=key, windowsVirtualKeyCode=code)
    browser.value("new Promise(done => setTimeout(done, 300))")


def test_another_setting_can_be_chosen_with_the_keyboard(study, browser, tmp_path):
    found = study("binary")
    browser.show(save(tmp_path, render(found)), 1280)
    rows = "[...document.querySelectorAll('[data-chart=curves] .role-mark text')].map(t => t.textContent)"
    cells = "[...document.getElementById('curve-table').tBodies[0].rows].map(r => r.cells[4].textContent)"
    before = browser.value(rows)
    browser.value("document.getElementById('curve-choice').focus()")
    press(browser, "End", 35)
    last = found["settings"][-1]
    assert browser.value(rows) != before
    assert any(text.startswith(last["label"]) for text in browser.value(rows))
    assert browser.value("document.querySelector('.shown-name').textContent") == last["label"]
    shown = [float(cell) for cell in browser.value(cells)]
    assert shown == pytest.approx(last["curves"]["validation"], abs=5e-4)
    assert browser.complaints == []


def test_the_picture_shows_the_full_budget_when_asked_with_the_keyboard(study, browser, tmp_path):
    found = study("binary")
    for arm in found["arms"]:
        arm["end"]["improvement"] = about(-2.0)
    browser.show(save(tmp_path, render(found)), 1280)
    red = "document.querySelectorAll('[data-chart=arms] .mark-symbol path[fill=\"var(--hurts)\"]').length"
    assert browser.value(red) < len(found["arms"])
    browser.value("document.querySelector('input[name=when]').focus()")
    press(browser, "ArrowRight", 39)
    assert browser.value("document.querySelector('input[name=when]:checked').value") == "end"
    assert browser.value(red) == len(found["arms"])
    assert browser.complaints == []


# --- read again --------------------------------------------------------------------------------------------------


def keep(folder: Path, found: Results) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")
    return folder


def invoke(*words: object) -> tuple[int, str]:
    run = CliRunner().invoke(app, [str(word) for word in words])
    assert run.exception is None or isinstance(run.exception, SystemExit), run.output
    return run.exit_code, run.output


@pytest.mark.parametrize("task", TASKS)
def test_a_report_is_rendered_again_from_its_results(study, tmp_path, task):
    found = rich(study) if task == "binary" else study(task)
    folder = keep(tmp_path / "run", found)
    assert results.read(folder) == results.parse(found)
    assert invoke("report", folder) == (0, f"Report: {folder / 'report.html'}\n")
    assert (folder / "report.html").read_text(encoding="utf-8") == render(found)


def test_a_report_goes_where_it_is_asked_for_and_nothing_is_overwritten(study, tmp_path):
    folder = keep(tmp_path / "run", study("regression"))
    other = tmp_path / "new" / "page.html"
    for _ in range(2):
        assert invoke("report", folder, "--out", other)[0] == 0
    letter = tmp_path / "letter.html"
    letter.write_text("<p>Dear reader")
    code, text = invoke("report", folder, "--out", letter)
    assert code == 2
    assert "must not overwrite" in text
    assert letter.read_text() == "<p>Dear reader"
    assert invoke("report", folder, "--out", tmp_path)[0] == 2


def refused(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        results.read(folder)
    code, said = invoke("report", folder)
    assert code == 2
    assert said.count("thinned: ") == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (2, "must be of schema 3"),
        (4, "must be of schema 3"),
        ("3", "something else"),
        (None, "something else"),
        (3.0, "something else"),
        (True, "something else"),
    ],
)
def test_another_version_is_refused(study, tmp_path, version, said):
    found = study("regression") | {"schema": version}
    assert said in refused(tmp_path / "run", json.dumps(found))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"schema": NaN}', "[" * 100_000, '{"schema": 3}', "\ud800"]
)
def test_what_are_no_results_is_refused(tmp_path, text):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "results.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError):
        results.read(folder)


def mutate(found: Any, path: tuple[Any, ...], value: Any) -> None:
    for step in path[:-1]:
        found = found[step]
    found[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict", "outcome"), "wins"),
        (("verdict", "recommended", "setting"), 99),
        (("selection",), "luck"),
        (("arms", 0, "best", "chosen"), [0, 0, 99]),
        (("arms", 0, "best", "chosen"), [0]),
        (("arms", 1, "best", "scores"), {"luck": about(1)}),
        (("arms",), []),
        (("settings", 0, "curves", "train"), [0.1]),
        (("settings", 0, "best", "test", "mean"), 1e300),
        (("settings", 0, "best", "test", "mean"), "0"),
        (("settings", 0, "best", "test", "mean"), None),
        (("settings", 1, "index"), 99),
        (("claims", "rate", "best", "test"), [about(1)]),
        (("claims", "rate", "rates"), []),
        (("claims", "price", "rates", 0, "ratio", "low"), 0),
        (("claims",), []),
        (("run", "versions"), {"torch": 2}),
        (("plan", "folds"), True),
        (("comparisons", 0, "p_value"), 2),
        (("data", "classes"), None),
    ],
)
def test_results_that_do_not_hold_together_are_refused(study, tmp_path, path, value):
    found = study("regression")
    mutate(found, path, value)
    assert re.search(r"must be as a study writes it; .* - at `\$", refused(tmp_path / "run", json.dumps(found)))


def test_whatever_passes_the_reader_can_be_rendered(study, tmp_path):
    """Each leaf of the results is replaced by what a careless or hostile hand might put there."""
    rng, rendered = np.random.default_rng(0), 0
    odd = [None, "", "x" * 50, 0, -1, 1e99, 0.5, True, [], {}, [[]], 10**15]
    for number in range(60):
        found = study("multiclass")
        at, path = found, []
        while isinstance(at, dict | list) and at and (len(path) < 2 or rng.random() < 0.8):
            step = list(at)[rng.integers(len(at))] if isinstance(at, dict) else int(rng.integers(len(at)))
            path.append(step)
            at = at[step]
        mutate(found, tuple(path), odd[rng.integers(len(odd))])
        (tmp_path / "results.json").write_text(json.dumps(found), encoding="utf-8")
        try:
            content = results.read(tmp_path)
        except InputError:
            continue
        assert report.render(content), (number, path)
        rendered += 1
    assert rendered > 5


# --- on the terminal ----------------------------------------------------------------------------------------------


def test_the_terminal_shows_every_arm_and_ends_with_verdict_and_report(study, tmp_path, capsys):
    from rich.console import Console

    from thinned.studies.report.terminal import print_study

    found = study("binary")
    for width in (80, 200):
        print_study(results.parse(found), tmp_path / "report.html", Console(width=width))
        text = capsys.readouterr().out
        assert max(len(line.rstrip()) for line in text.splitlines()[:-1]) <= min(width, 100)
        flat = " ".join(text.split())
        assert flat.index("dropout on the output") < flat.index(found["verdict"]["headline"])
        assert "over no regularisation." in text
        assert "early stopping alone" not in text  # the report has one name for it, the arm's own
        assert text.splitlines()[-1] == f"Report: {tmp_path / 'report.html'}"
    assert all(arm["label"] in text for arm in found["arms"])
