"""The report: complete, safe with hostile text, and drawn by a real browser without a network."""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Page

import thinned
from thinned.studies import charts
from thinned.studies.report import _places, render

Results = dict[str, Any]
TASKS = ("binary", "multiclass", "regression")
HOSTILE = ["<script>alert(1)</script>", "</script>", "{{7*7}}", "\"'`><img src=x onerror=alert(1)>"]
HOSTILE += ["a\u2028b\u2029c", "{% raw %}&lt;"]
#: of the protocol: confidence, power, the year of a paper, and the zero that means no difference
PROTOCOL = {"95", "80", "2003", "0"}


def frame(task: str, target: str = "y", classes: tuple[str, ...] = ("a", "b", "c")) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(150, 3))
    value = x @ [1.0, -1.0, 0.5] + rng.normal(size=150)
    code = np.digitize(value, [-0.7, 0.7]) if task == "multiclass" else (value > 0).astype(int)
    y = 1000 * value if task == "regression" else [classes[c] for c in code]
    return pd.DataFrame({"one": x[:, 0], "two": x[:, 1], "three": x[:, 2], target: y})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Results]:
    """Real results, small: one study a task, made when first asked for."""
    made: dict[str, Results] = {}

    def of(task: str) -> Results:
        if task not in made:
            few = task == "multiclass"
            made[task] = thinned.study(
                frame(task),
                "y",
                task=task,
                out=tmp_path_factory.mktemp(task) / "run",
                rates=(0.5,) if few else (0.1, 0.3, 0.5, 0.8),
                folds=3,
                seeds=1 if few else 2,
                hidden=(8,) if few else (8, 8),
                epochs=1 if few else 12,
                command=None if few else "thinned study data.csv --target y",
            ).results
        return copy.deepcopy(made[task])

    return of


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]\d+)?", text, flags=re.ASCII))


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from (leaf for pair in value.items() for part in pair for leaf in leaves(part))
    elif isinstance(value, list):
        yield from (leaf for part in value for leaf in leaves(part))
    else:
        yield value


def traceable(results: Results) -> set[str]:
    """Every way to write a number of the results, and how many rates and epochs it has."""
    known = PROTOCOL | {str(len(results["plan"]["rates"]))} | {str(e + 1) for e in range(results["plan"]["epochs"])}
    for leaf in leaves(results):
        if isinstance(leaf, str):
            known |= numbers(leaf)
        elif leaf is not None:
            known |= {f"{abs(leaf):,.{places}f}" for places in range(9)}
            known |= numbers(f"{leaf:g} {leaf:.2g} {leaf:.3g}")
    return known


@pytest.mark.parametrize("task", TASKS)
def test_the_verdict_comes_first_and_every_section_follows(study, task):
    results = study(task)
    html = render(results)
    page = Page(html)
    order = [results["verdict"]["headline"], results["verdict"]["detail"], "Networks trained", "Rate curve"]
    order += ["Learning curves", "All rates", "How this was measured"]
    places = [page.text.index(text) for text in order]
    assert places == sorted(places)
    assert html.index("</h1>") < html.index("data-chart")
    assert sum(tag == "h1" for tag, _ in page.tags) == 1


@pytest.mark.parametrize("task", TASKS)
def test_no_number_comes_from_elsewhere(study, task):
    results = study(task)
    page = Page(render(results))
    said = " ".join([page.text, *page.having("aria-label")])
    assert numbers(said) - traceable(results) == set()


@pytest.mark.parametrize("task", TASKS)
def test_tables_hold_each_arm_and_score(study, task):
    results = study(task)
    text = " ".join(Page(render(results)).text.split())
    for arm in results["arms"]:
        for name, metric in results["metrics"].items():
            score = arm["best"]["scores"][name]
            written = {f"{score['mean']:,.{places}f}".replace("-", "\N{MINUS SIGN}") for places in range(9)}
            assert written & set(text.split()), (arm["name"], name)
            assert metric["label"] in text
        if arm["rate"]:
            assert f"{arm['chosen_in']['best']} of {results['comparison']['best']['splits']}" in text


@pytest.mark.parametrize("task", TASKS)
def test_chart_data_are_the_results_own(study, task):
    results = study(task)
    specs = Page(render(results)).specs
    assert set(specs) == {"rates-best", "rates-end", "difference", "curves"}
    rows = specs["curves"]["datasets"]["curves"]
    for number, arm in enumerate(results["arms"]):
        for part, curve in arm["curves"].items():
            assert [r["loss"] for r in rows if r["arm"] == number and r["part"] == part] == curve
    for when in ("best", "end"):
        rows = specs[f"rates-{when}"]["datasets"]["losses"]
        assert len(rows) == 3 * len(results["arms"])
        for row in rows:
            arm = next(arm for arm in results["arms"] if arm["rate"] == row["rate"])
            assert {key: row[key] for key in ("mean", "low", "high")} == arm[when][row["part"]]


@pytest.mark.parametrize("task", TASKS)
def test_axes_say_what_they_measure(study, task):
    specs = json.dumps(Page(render(study(task))).specs, ensure_ascii=False)
    unit = "squared error (standard deviations²)" if task == "regression" else "cross-entropy (nats)"
    assert unit in specs
    assert "share of hidden units dropped" in specs
    assert "no dropout" in specs


@pytest.mark.parametrize(
    ("outcome", "rate", "mark", "word"),
    [
        ("helps", 0.3, "recommended: 0.3", "Dropout helps"),
        ("hurts", 0.0, "recommended: no dropout", "Dropout hurts"),
        ("no detectable difference", 0.0, "recommended: no dropout", "No detectable difference"),
    ],
)
def test_the_outcome_is_in_words_and_marked_in_the_charts(study, outcome, rate, mark, word):
    results = study("binary")
    results["verdict"] |= {"outcome": outcome, "recommended_rate": rate}
    page = Page(render(results))
    assert word in page.text
    assert mark in json.dumps(page.specs)


def test_every_chart_has_a_description_and_a_table(study):
    page = Page(render(study("binary")))
    described = [a for tag, a in page.tags if a.get("role") == "img" and a.get("aria-label")]
    assert len(described) == len(page.having("data-chart")) == 4
    figures = " ".join(tag for tag, _ in page.tags if tag in ("figure", "figcaption", "details", "table"))
    assert figures.count("figure figcaption details table") == 4
    assert all("tabindex" in a and "aria-label" in a for _, a in page.tags if a.get("class", "").startswith("scroll"))


def test_what_is_missing_leaves_no_trace(study):
    page = Page(render(study("multiclass")))
    assert "To reproduce" not in page.text
    assert "None" not in page.text
    assert "rate-choice" not in page.having("id")  # one dropout rate leaves nothing to choose
    with_command = Page(render(study("regression")))
    assert "thinned study data.csv --target y" in with_command.text
    assert "Classes" not in with_command.text


@pytest.mark.parametrize(
    ("largest", "places"), [(0.0, 3), (2e-5, 6), (0.0097, 4), (0.32, 4), (1.5, 3), (56.19, 2), (412.5, 1), (3e6, 0)]
)
def test_small_numbers_keep_digits_and_large_ones_get_no_more(largest, places):
    assert _places([largest / 3, -largest]) == places


def test_the_same_results_give_the_same_page(study):
    assert render(study("binary")) == render(study("binary"))


def hostile(study: Callable[[str], Results]) -> Results:
    results = study("binary")
    results["data"]["classes"] = dict.fromkeys(HOSTILE, 1)
    results["data"]["name"], results["data"]["target"] = HOSTILE[0], HOSTILE[3]
    results["run"]["command"] = " ".join(HOSTILE)
    for metric in results["metrics"].values():
        metric["unit"] = metric["label"] = HOSTILE[1] + HOSTILE[0]
    for number, arm in enumerate(results["arms"]):
        arm["name"] = HOSTILE[number % len(HOSTILE)]
    results["verdict"]["detail"] = "".join(HOSTILE)
    return results


def test_hostile_text_is_shown_as_text(study):
    results = hostile(study)
    html = render(results)
    page, clean = Page(html), Page(render(study("binary")))
    for text in HOSTILE:
        assert text in page.text
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"] * 2
    assert not [a for _, a in page.tags for name in a if name.startswith("on")]
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert page.scripts[1] == clean.scripts[1]
    assert "\u2028" not in page.scripts[0]
    assert "<" not in page.scripts[0]
    assert page.specs["difference"]["layer"][1]["encoding"]["x"]["title"] == f"Improvement ({HOSTILE[1]}{HOSTILE[0]})"


def test_hostile_names_pass_through_a_whole_study(tmp_path):
    data = frame("multiclass", target=HOSTILE[0], classes=(HOSTILE[1], HOSTILE[2], HOSTILE[3]))
    data = data.rename(columns={"one": HOSTILE[4]})
    done = thinned.study(data, HOSTILE[0], out=tmp_path / "run", rates=(0.5,), folds=2, seeds=1, epochs=1)
    page = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert len(page.scripts) == 2
    assert all(name in page.text for name in done.results["data"]["classes"])


def test_nothing_is_loaded_from_elsewhere(study):
    page = Page(render(study("binary")))
    for attribute in ("src", "href", "srcset", "action", "poster", "data", "background"):
        assert [value for value in page.having(attribute) if value != "data:,"] == []
    assert "url(" not in page.styles
    assert "@import" not in page.styles
    assert not [s for s in leaves(page.specs) if s in ("url", "href")]
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy


def test_series_differ_in_more_than_colour():
    colours, dashes, shapes = zip(*charts.PARTS.values(), strict=True)
    assert len(set(colours)) == len(set(dashes)) == len(set(shapes)) == len(charts.PARTS)


SIZES = """[...document.querySelectorAll("[data-chart] svg")].map(svg => {
    const box = svg.getBoundingClientRect(); return [box.width, box.height] })"""
MARKS = """[...document.querySelectorAll("[data-chart]")].map(place =>
    place.querySelectorAll(".mark-line path, .mark-rule line").length)"""
FRAME = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
INK = "getComputedStyle(document.querySelector('[data-chart] .role-axis-title text')).fill"


def save(folder: Path, html: str) -> Path:
    page = folder / "report.html"
    page.write_text(html, encoding="utf-8")
    return page


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("task", TASKS)
def test_a_browser_draws_it_without_a_complaint(study, browser, tmp_path, task, width):
    page = save(tmp_path, render(study(task)))
    browser.show(page, width)
    assert browser.complaints == []
    assert browser.requests == [page.as_uri()]
    sizes = browser.value(SIZES)
    assert len(sizes) == 4
    assert all(250 < w <= width and h > 100 for w, h in sizes)
    assert all(browser.value(MARKS))
    browser.value("document.querySelectorAll('details').forEach(d => { d.open = true })")
    content, window = browser.value(FRAME)
    assert content == window == width


def test_a_browser_runs_nothing_of_hostile_text(study, browser, tmp_path):
    page = save(tmp_path, render(hostile(study)))
    browser.show(page, 1280)
    assert browser.complaints == []
    assert browser.requests == [page.as_uri()]
    assert len(browser.value(SIZES)) == 4


def test_the_policy_stops_what_escaping_might_miss(study, browser, tmp_path):
    injected = "<img src='https://example.invalid/x.png'><script>window.stolen = 1</script></main>"
    browser.show(save(tmp_path, render(study("binary")).replace("</main>", injected)), 1280)
    assert len(browser.complaints) == 2
    assert browser.value("window.stolen === undefined")


def test_charts_follow_dark_and_paper(study, browser, tmp_path):
    page = save(tmp_path, render(study("binary")))
    seen = {}
    for name, scheme, media in (("light", "light", "screen"), ("dark", "dark", "screen"), ("paper", "dark", "print")):
        browser.show(page, 1280, scheme, media)
        seen[name] = browser.value(INK), browser.value("getComputedStyle(document.body).backgroundColor")
    assert seen["light"] == seen["paper"] == ("rgb(22, 25, 29)", "rgb(255, 255, 255)")
    assert seen["dark"] == ("rgb(236, 239, 243)", "rgb(20, 23, 27)")


def test_another_rate_can_be_chosen_with_the_keyboard(study, browser, tmp_path):
    results = study("binary")
    browser.show(save(tmp_path, render(results)), 1280)
    rows = "[...document.querySelectorAll('[data-chart=curves] .mark-text text')].map(t => t.textContent)"
    before = browser.value(rows)
    browser.value("document.getElementById('rate-choice').focus()")
    last = results["arms"][-1]
    for event in ("rawKeyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=event, key="End", code="End", windowsVirtualKeyCode=35)
    browser.value("new Promise(done => setTimeout(done, 300))")
    after = browser.value(rows)
    assert after != before
    assert any(text.startswith(last["name"]) for text in after)
    assert browser.value("document.getElementById('shown-name').textContent") == last["name"].capitalize()
    assert browser.complaints == []
