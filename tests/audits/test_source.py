"""Source code that is read and not run."""

import re
import textwrap

import pytest
from audit_corpus import SOURCE

from thinned.audits.source import audit_text


def test_reading_without_running():
    expected = [
        (line, code) for line, text in enumerate(SOURCE.splitlines(), 1) for code in re.findall(r"# (TD\d+)", text)
    ]
    found = audit_text(SOURCE)
    assert [(finding.line, finding.code) for finding in found] == expected
    assert not any(finding.confirmed for finding in found)
    assert all("not run" in finding.message for finding in found)


GATES = """
if not self.training or self.p == 0:
    return x
return F.dropout(x, 0.5)
---
with torch.no_grad():
    if not self.training:
        return x
    return F.dropout(x, 0.5)
---
assert self.training
return F.dropout(x, 0.5)
---
if not (self.training and self.p > 0):
    return x
return F.dropout(x, 0.5)
---
if self.p > 0 and (self.training or self.always):
    return F.dropout(x, 0.5, training=True)
return x
---
if not (self.training or self.always):
    return x
return F.dropout(x, 0.5)
---
if self.deep or self.always:
    return F.dropout(x, 0.5)  # TD101
return x
---
if not self.training and self.p == 0:
    return x
return F.dropout(x, 0.5)  # TD101
---
if self.training or self.p > 0:
    return F.dropout(x, 0.5)  # TD101
"""


@pytest.mark.parametrize("body", GATES.split("---\n"))
def test_what_runs_in_training_only(body):
    head = "import torch\nimport torch.nn.functional as F\nclass M:\n    def forward(self, x):\n"
    found = audit_text(head + textwrap.indent(body, " " * 8))
    assert [finding.code for finding in found] == re.findall("# (TD101)", body)


def test_a_dropout_with_an_annotation_is_read():
    init = "    def __init__(self):\n        self.drop: nn.Module = nn.Dropout(0.3)\n"
    [finding] = audit_text(f"from torch import nn\nclass M:\n{init}    def forward(self, x):\n        return x\n")
    assert (finding.code, finding.line) == ("TD301", 4)


def test_methods_that_forward_runs_are_read_as_forward():
    text = """
        import torch
        from torch import nn

        class FeedForward(nn.Module):
            def __init__(self, config):
                super().__init__()
                self.dropout = nn.Dropout(config.dropout)

            def forward(self, x):
                if self.seed is None:
                    self.start()
                if self.training:
                    x = self.augment(x)
                return self.chunk(x)

            def chunk(self, x):
                torch.manual_seed(3)
                return nn.Dropout(0.1)(x)

            def start(self):
                torch.manual_seed(3)

            def augment(self, x):
                return nn.Dropout(0.1)(x)

            def never(self, x):
                return nn.Dropout(0.1)(x)
        """
    findings = [(f.code, f.module) for f in audit_text(textwrap.dedent(text), "file.py")]
    assert findings == [
        ("TD301", "FeedForward"),
        ("TD401", "FeedForward.chunk"),
        ("TD103", "FeedForward.chunk"),
    ]
    used = text.replace("x = self.augment(x)", "x = self.dropout(x)")
    assert "TD301" not in {f.code for f in audit_text(textwrap.dedent(used), "file.py")}
