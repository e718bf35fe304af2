"""What a notebook shows: escaped, small, and with the numbers of the object."""

from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import thinned
from thinned.html_table import html_table


class Cells(HTMLParser):
    """The texts of a page, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_all_text_is_escaped() -> None:
    cells = Cells(html_table("<script>", ["<b>"], [["<img src=x>"]]))
    assert cells.tags == {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert cells.texts == ["<script>", "<b>", "<img src=x>"]


def test_a_table_without_rows_is_its_title() -> None:
    assert "table" not in Cells(html_table("nothing", ["a"], [])).tags


def test_an_audit_shows_equal_findings_once() -> None:
    blocks = [nn.Linear(4, 4), nn.Dropout(0.9), nn.Linear(4, 4), nn.Dropout(0.9), nn.Linear(4, 2)]
    result = thinned.audit(nn.Sequential(*blocks), torch.ones(8, 4))
    texts = Cells(result._repr_html_()).texts
    assert texts[0] == f"Sequential: {result.summary}"
    assert texts.count("TD304") == len(result.groups())
    assert all(finding.fix in texts for finding in result)


def test_a_prediction_shows_its_numbers_and_no_more_than_its_first_rows() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1), nn.Flatten(0))
    prediction = thinned.ensemble.predict(model, torch.ones(100, 3), members=16)
    html = prediction._repr_html_()
    texts = Cells(html).texts
    assert len(html) < 3000
    row = texts[texts.index("epistemic") :]
    assert row[1] == "float32[100]"
    assert float(row[2]) == pytest.approx(float(prediction.epistemic.min()), rel=1e-3)
    assert row[4].count(",") == 8
