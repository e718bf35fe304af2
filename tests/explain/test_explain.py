"""The page on the churn network: whole, safe, offline, and its own arithmetic equal to the package's."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, Page
from typer.testing import CliRunner

from thinned import philox
from thinned.explain import numbers, render, write
from thinned.explain import numpy_network as net
from thinned.explain.page import MASK, cells
from thinned.explain.panels import FUNCTIONS, PANELS
from thinned_cli.app import app

MASKS = [np.array(mask) for mask in itertools.product((False, True), repeat=4)]
FRAME = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
SIZES = """[...document.querySelectorAll("[data-chart] svg")].map(svg => {
    const box = svg.getBoundingClientRect(); return [box.width, box.height] })"""
CELLS = "Object.fromEntries([...document.querySelectorAll('[data-cell]')].map(c => [c.dataset.cell, c.textContent]))"
SET_RATE = "((p) => { const r = document.getElementById('rate'); r.value = p; r.dispatchEvent(new Event('input')) })"
CLICK = "((unit) => document.querySelector(`[data-unit='${unit}']`).dispatchEvent(new MouseEvent('click')))"


@pytest.fixture(scope="module")
def html() -> str:
    return render()


@pytest.fixture(scope="module")
def page(html: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / "explain.html"
    path.write_text(html, encoding="utf-8")
    return path


def press(browser: Browser, key: str, code: int, text: str = "") -> None:
    for event in ("keyDown" if text else "rawKeyDown", "keyUp"):
        extra = {"text": text} if text and event == "keyDown" else {}
        browser.call("Input.dispatchKeyEvent", type=event, key=key, code=key, windowsVirtualKeyCode=code, **extra)


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_each_panel_is_two_sentences_and_links_its_functions(html: str) -> None:
    read = Page(html)
    anchors = set(read.having("id"))
    for panel in PANELS:
        assert len(re.findall(r"[.!?](?:\s|$)", panel.description)) == 2, panel.name
        assert panel.description in read.text
        assert panel.functions
    links = read.having("href")
    assert {link for link in links if link != "data:,"} == {f"#{f.anchor}" for f in FUNCTIONS}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert {name for panel in PANELS for name in panel.functions} == {f.name for f in FUNCTIONS}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_the_functions_are_what_they_are_called_and_their_examples_run(function: Any) -> None:
    module, name = function.name.rsplit(".", 1)
    assert function.function.__name__ == name
    assert function.function.__module__.startswith(("thinned.", module))
    exec(compile(function.example, function.name, "exec"), {})


def test_nothing_is_loaded_from_elsewhere(html: str) -> None:
    read = Page(html)
    for attribute in ("src", "srcset", "action", "poster", "background"):
        assert read.having(attribute) == []
    assert "url(" not in read.styles
    assert "@import" not in read.styles
    policy = next(a["content"] for _, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert policy.count("sha256-") == len(read.scripts) - 1 == 2


def test_without_scripts_the_page_shows_the_example(html: str) -> None:
    text = Page(html).text
    for value in ("0.36 × 2", "0.13 × 0", "0.7200", "0.8400", "0.9879", "0.6164", "0.6921"):
        assert value in text
    assert MASK.tolist() == [True, False, True, False]


def test_the_page_is_the_same_each_time(html: str) -> None:
    assert render() == html


@pytest.mark.parametrize("width", [390, 768, 1280, 1600])
def test_a_browser_draws_it_without_a_complaint(page: Path, browser: Browser, width: int) -> None:
    browser.show(page, width)
    assert browser.complaints == []
    assert browser.requests == [page.as_uri()]
    sizes = browser.value(SIZES)
    assert len(sizes) == 4
    assert all(250 < w <= width and h > 100 for w, h in sizes)
    browser.value("document.querySelectorAll('details').forEach(d => { d.open = true })")
    content, window = browser.value(FRAME)
    assert content == window == width


def test_a_switch_is_large_enough_for_a_finger(page: Path, browser: Browser) -> None:
    browser.show(page, 390)
    boxes = browser.value(
        """[...document.querySelectorAll('.unit circle')].map(c => c.getBoundingClientRect().width)"""
    )
    assert min(boxes) >= 40
    low = browser.value("Math.min(...[...document.querySelectorAll('button, select, .check')]"
                        ".map(b => b.getBoundingClientRect().height))")  # fmt: skip
    assert low >= 40


def test_the_pages_steps_equal_the_packages(page: Path, browser: Browser) -> None:
    browser.show(page, 1280)
    expression = """((rates, masks) => { const g = JSON.parse(document.getElementById('data').textContent);
        return rates.flatMap(p => masks.map(mask => {
            const trace = arithmetic.forward(g.network, g.x, arithmetic.multiplier(mask, p));
            return [trace, arithmetic.backward(g.network, trace, g.y), arithmetic.loss(trace, g.y)]; })) })"""
    masks = json.dumps([mask.tolist() for mask in MASKS])
    made = browser.value(f"{expression}({json.dumps(numbers.RATES)}, {masks})")
    for (p, mask), (trace, gradient, loss) in zip(itertools.product(numbers.RATES, MASKS), made, strict=True):
        ours, slopes, our_loss = numbers.step(p, mask)
        np.testing.assert_allclose(trace["dropped"], ours.dropped[0], rtol=1e-14)
        np.testing.assert_allclose(trace["output"], ours.output[0], rtol=1e-12)
        np.testing.assert_allclose(loss, our_loss, rtol=1e-12)
        for name, of in (
            ("hiddenWeight", slopes.hidden_weight),
            ("hiddenBias", slopes.hidden_bias),
            ("outputWeight", slopes.output_weight),
        ):
            # the output's rounding error near 1, times the largest weight and factor: 1.1e-16 · 4 · 10
            np.testing.assert_allclose(gradient[name], of, rtol=1e-12, atol=5e-15)
        assert [value == 0 for value in gradient["outputWeight"]] == (~mask).tolist()


def test_the_pages_masks_are_the_packages(page: Path, browser: Browser) -> None:
    browser.show(page, 1280)
    expression = """((rates) => { const g = JSON.parse(document.getElementById('data').textContent);
        return rates.map(p => [arithmetic.threshold(p), g.lanes.map(one => arithmetic.keep(one, p))]) })"""
    rates = (0.05, 0.35, 0.9)
    for p, (threshold, masks) in zip(rates, browser.value(f"{expression}({json.dumps(rates)})"), strict=True):
        assert threshold == philox.threshold(p)
        assert masks == [net.keep((4,), p, numbers.KEY, call).tolist() for call in range(numbers.MASKS)]


def test_the_pages_ensemble_equals_enumerate(page: Path, browser: Browser) -> None:
    browser.show(page, 1280)
    expression = """((cases) => { const g = JSON.parse(document.getElementById('data').textContent);
        return cases.map(([p, logistic]) => arithmetic.subnetworks(g.network, g.x, p, logistic)) })"""
    cases = list(itertools.product(numbers.RATES, (True, False)))
    for (p, logistic), made in zip(cases, browser.value(f"{expression}({json.dumps(cases)})"), strict=True):
        ours = numbers.subnetworks(p, logistic)
        assert [member["mask"] for member in made["members"]] == ours.masks.tolist()
        np.testing.assert_allclose([m["probability"] for m in made["members"]], ours.probability, rtol=1e-12)
        np.testing.assert_allclose([m["output"] for m in made["members"]], ours.output, rtol=1e-11)
        ways = [made[name] for name in ("mean", "geometricMean", "weightScaled")]
        np.testing.assert_allclose(ways, [ours.mean, ours.geometric_mean, ours.weight_scaled], rtol=1e-11)


def test_the_other_panels_equal_the_package(page: Path, browser: Browser) -> None:
    browser.show(page, 1280)
    expression = """((p) => { const g = JSON.parse(document.getElementById('data').textContent);
        const off = [1, 1, 1, 1];
        const a = arithmetic.forward(g.network, g.x, off).hidden;
        const outputs = g.rows.x.map(x => arithmetic.forward(g.network, x, off).output);
        const steps = g.rows.lanes.map(lanes => arithmetic.onOutput(outputs, g.rows.y, lanes, p));
        return { ...arithmetic.convergence(a, g.lanes, p), norm: arithmetic.batchNorm(g.norm.hidden, g.norm.lanes, p),
            dropped: steps.map(s => s.dropped), losses: steps.map(s => s.losses.map(String)) } })"""
    for p in (0.05, 0.3, 0.5, 0.9):
        made = browser.value(f"{expression}({p})")
        for ours, name in zip(numbers.convergence(p), ("means", "errors"), strict=True):
            np.testing.assert_allclose(made[name], ours, rtol=1e-11)
        _, _, dropped, losses = numbers.on_output(p)
        np.testing.assert_allclose(made["dropped"], dropped, rtol=1e-11)
        np.testing.assert_allclose(np.array(made["losses"], dtype=float), losses, rtol=1e-9, atol=1e-15)
        shift = numbers.batch_norm(p)
        for name, ours in (("trainedVariance", shift.trained_variance), ("variance", shift.variance)):
            np.testing.assert_allclose(made["norm"][name], ours, rtol=1e-9)
        for name in ("training", "evaluation", "recalibrated"):
            # the batch norm adds 1e-12 to variances of 3e-3 and more
            np.testing.assert_allclose(made["norm"][name], getattr(shift, name), rtol=1e-8)


def test_every_number_that_is_shown_is_the_packages(page: Path, browser: Browser) -> None:
    browser.show(page, 1280)
    assert browser.value(CELLS) == cells(0.5, MASK)
    for p in (0.05, 0.35, 0.9):
        browser.value(f"{SET_RATE}({p})")
        assert browser.value(CELLS) == cells(p, net.keep((4,), p, numbers.KEY))
    browser.value("document.getElementById('next').click()")
    browser.value("document.getElementById('logistic').click()")
    assert browser.value(CELLS) == cells(0.9, net.keep((4,), 0.9, numbers.KEY, 1), call=1, logistic=False)
    browser.value(f"{SET_RATE}(0.5)")
    mask = net.keep((4,), 0.5, numbers.KEY, 1)
    for unit in (1, 3):
        browser.value(f"{CLICK}({unit})")
        mask[unit] ^= True
    assert browser.value(CELLS) == cells(0.5, mask, call=1, logistic=False)
    assert browser.value("document.getElementById('which').textContent") == "Mask set by hand"
    assert browser.complaints == []


def test_without_the_nonlinearity_the_three_marks_coincide(page: Path, browser: Browser) -> None:
    browser.show(page, 1280)
    marks = """[...document.querySelectorAll('[data-chart=subnetworks] .mark-rule line')]
        .map(l => Math.round(10 * l.getBoundingClientRect().x)).slice(-3)"""
    settle = "new Promise(done => setTimeout(done, 200))"
    browser.value(settle)
    assert len(set(browser.value(marks))) == 2
    browser.value("document.getElementById('logistic').click()")
    browser.value(settle)
    assert len(set(browser.value(marks))) == 1


def test_it_is_played_with_the_keyboard(page: Path, browser: Browser) -> None:
    browser.show(page, 1280)
    tab = [browser.value("document.activeElement.id")]
    seen = []
    for _ in range(12):
        press(browser, "Tab", 9)
        seen.append(browser.value("document.activeElement.id || document.activeElement.dataset.unit || ''"))
    assert tab == [""]
    assert [name for name in seen if name] == ["rate", "next", "0", "1", "2", "3", "logistic"][
        : len([n for n in seen if n])
    ]
    assert {"rate", "next", "0", "1", "2", "3"} <= set(seen)
    browser.value("document.querySelector('[data-unit=\"1\"]').focus()")
    for key, code, text in ((" ", 32, " "), ("Enter", 13, "\r")):
        before = browser.value("document.activeElement.getAttribute('aria-checked')")
        press(browser, key, code, text)
        assert browser.value("document.activeElement.getAttribute('aria-checked')") != before
    browser.value("document.getElementById('rate').focus()")
    press(browser, "ArrowRight", 39)
    assert browser.value("document.getElementById('rate-value').textContent") == "0.55"
    assert browser.complaints == []


def test_the_page_follows_dark_and_paper(page: Path, browser: Browser) -> None:
    seen = {}
    for name, scheme, media in (("light", "light", "screen"), ("dark", "dark", "screen"), ("paper", "dark", "print")):
        browser.show(page, 1280, scheme, media)
        ink = "getComputedStyle(document.querySelector('.network .value')).fill"
        seen[name] = browser.value(ink), browser.value("getComputedStyle(document.body).backgroundColor")
    assert seen["light"] == seen["paper"] == ("rgb(22, 25, 29)", "rgb(255, 255, 255)")
    assert seen["dark"] == ("rgb(236, 239, 243)", "rgb(20, 23, 27)")


def test_the_command_writes_the_page_and_writes_it_again(html: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "explain.html"
    for _ in range(2):
        result = CliRunner().invoke(app, ["explain", "--out", str(out)])
        assert result.exit_code == 0, result.output
        assert out.read_text(encoding="utf-8") == html


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("my own page")
    result = CliRunner().invoke(app, ["explain", "--out", str(mine)])
    assert result.exit_code == 2
    assert "must not overwrite another file" in result.stderr
    assert mine.read_text() == "my own page"
    assert CliRunner().invoke(app, ["explain", "--out", str(tmp_path)]).exit_code == 2
    with pytest.raises(ValueError, match="choose another with --out"):
        write(mine)
