"""Source code that is read and not run."""

import re
import textwrap

import pytest

from thinned.audits.source import audit_text

SOURCE = """
import torch
import torch.nn as tnn
from torch.nn import functional as fun, Dropout
from torch.nn.functional import dropout as drop
from torch.utils.checkpoint import checkpoint
from paddle.nn import functional as F

class Net(tnn.Module):
    def __init__(self, p):
        self.used, self.lstm = Dropout(p), None
        self.dead = Dropout(0.3)  # TD301
        self.placeholder = Dropout(0.0)
        self.keep = tnn.Dropout2d(0.9)  # TD304
        self.high = Dropout(p=0.8)  # TD303
        self.lstm = tnn.LSTM(3, 4, dropout=0.5)  # TD302
        self.deep = tnn.LSTM(3, 4, 2, dropout=0.5)

    def forward(self, x):
        x = fun.dropout(x, 0.5)  # TD101
        x = drop(x, self.p, True)  # TD101
        x = fun.dropout(x, 0.5, self.training)
        x = fun.dropout(x, 0.5 if self.training else 0.0)
        x = F.dropout(x, 0.5)
        if self.training:
            x = fun.dropout(x, 0.5)
        x = drop(x) if self.training else x
        x = self.training and drop(x)
        x = tnn.Dropout(0.1)(x)  # TD103
        torch.manual_seed(0)  # TD401
        x = checkpoint(self.used, x, preserve_rng_state=False)  # TD402
        rate = self.p if self.training else 0
        x = fun.scaled_dot_product_attention(x, x, x, dropout_p=rate)
        x = fun.scaled_dot_product_attention(x, x, x, dropout_p=self.p)  # TD101
        x = fun.scaled_dot_product_attention(x, x, x, None, 0.0)
        x = fun.dropout(x, 0.5)  # TD101 thinned: ignore
        return self.keep(self.high(self.lstm(self.deep(self.placeholder(x)))))

    def early(self, x):
        if not self.training:
            return x
        return fun.dropout(x)

def helper(x, p):
    return fun.dropout(x, p)
"""


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
