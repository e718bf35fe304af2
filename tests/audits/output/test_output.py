"""Hostile text in HTML and SARIF."""

import json
from html.parser import HTMLParser

from thinned.audits import Audit, Finding
from thinned.audits.output.html import to_html
from thinned.audits.output.sarif import to_sarif

HOSTILE = "<script>alert(1)</script>{{7*7}}\"'><img src=x onerror=alert(1)>"


def test_hostile_text_is_escaped():
    finding = Finding("TD101", "error", HOSTILE, HOSTILE, HOSTILE, HOSTILE, 3, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    result = Audit(HOSTILE, (finding, finding), (HOSTILE,))
    page = to_html(result)
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, attrs))
    parser.feed(page)
    assert {"script", "img"}.isdisjoint(tag for tag, _ in tags)
    assert not any(name.startswith("on") for _, attrs in tags for name, _ in attrs)
    assert "{{7*7}}" in page
    assert json.loads(to_sarif(result, "0"))["runs"][0]["results"][0]["ruleId"] == "TD101"
