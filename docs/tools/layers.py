"""Write docs/layers.md and its pictures from the docstrings and masks of the layers.

python docs/tools/layers.py           # write
python docs/tools/layers.py --check   # fail if a file is not what would be written
"""

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from thinned import layers

DOCS = Path(__file__).resolve().parents[1]
CELL = 9  # pixels
WIDTH = 100  # characters of a line of Markdown
PanelList = list[tuple[str, npt.NDArray[np.float64]]]

INTRODUCTION = """<!-- `python docs/tools/layers.py` writes this page; a test fails if it is stale. -->

# Layers

Every layer draws its masks from torch's default generator, unless they have an address:
`thinned.address` sets one, and so does assigning the buffers `key` and `call`. A `rate` buffer,
which `thinned.schedules` writes, takes the place of `p`. In evaluation a layer passes its input
through.

Each picture shows one mask on a small tensor, a panel for each position of the axis named. White is
0, darker is larger, red is negative. Units that are always white together share a decision.
"""


def _ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape)


def _panels(name: str, out: torch.Tensor) -> PanelList:
    return [(f"{name} {i}", np.atleast_2d(out[i].numpy())) for i in range(len(out))]


def _addressed(layer: torch.nn.Module, key: int = 7) -> torch.nn.Module:
    for module in layer.modules():
        if isinstance(module, layers.Addressed):
            module.key, module.call = torch.tensor(key), torch.tensor(0)
    return layer


def _attention() -> PanelList:
    layer = _addressed(layers.MultiheadAttention(4, 2, dropout=0.3))
    x = _ones(8, 2, 4)
    _, weights = layer(x, x, x, average_attn_weights=False)
    return [(f"sample {n}, head {h}", weights[n, h].detach().numpy() * 8) for n in range(2) for h in range(2)]


def _embedding() -> PanelList:
    layer = _addressed(layers.EmbeddingDropout(8, 6, p=0.4))
    torch.nn.init.ones_(layer.weight)
    words = torch.tensor([[0, 3, 5, 3, 1, 0, 7, 2], [3, 2, 0, 6, 4, 3, 5, 1]])
    return [(f"words {' '.join(map(str, row.tolist()))}", layer(row).detach().numpy()) for row in words]


def _block() -> PanelList:
    out = _addressed(layers.DropBlock2d(0.2, 3), 2)(_ones(4, 1, 12, 12))
    return _panels("sample", out[:, 0])


def _words() -> PanelList:
    return _panels("sentence", _addressed(layers.WordDropout(0.3))(_ones(3, 8, 6)))


def _depth() -> PanelList:
    """The branch alone: what the layer adds to its input."""
    x = _ones(5, 6, 6)
    return _panels("sample, less the input", _addressed(layers.StochasticDepth(torch.nn.Identity(), 0.4))(x) - x)


def _layer() -> PanelList:
    """Layers that triple what they get, one after the other."""
    triple = _identity(6)
    with torch.no_grad():
        triple.weight *= 3
    outs = [_addressed(layers.LayerDrop(triple, 0.4), key)(_ones(6, 6)).detach() / 1.5 for key in range(5)]
    return _panels("mini-batch", torch.stack(outs))


def _thinned_attention() -> PanelList:
    """Heads of two features that give ones, without an output projection."""
    layer = _addressed(layers.ThinnedAttention(8, 4, 0.5, bias=False))
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.eye(8).repeat(3, 1))
        layer.out_proj.weight.copy_(torch.eye(8))
        out, _ = layer(*[_ones(6, 3, 8)] * 3, need_weights=False)
    return _panels("sample (columns: heads of 2)", out.transpose(0, 1))


def _identity(width: int) -> torch.nn.Linear:
    linear = torch.nn.Linear(width, width, bias=False)
    torch.nn.init.eye_(linear.weight)
    return linear


def _mlp() -> PanelList:
    """Layers that pass on what they get."""
    model = _addressed(layers.ThinnedMLP(layers.BatchDropout(), _identity(8)))
    return [("samples", model(_ones(6, 8)).detach().numpy())]


def _feed_forward() -> PanelList:
    model = layers.ThinnedFeedForward(8, 8, 0.5, torch.relu, bias=False)
    for linear in (model.up_proj, model.down_proj):
        torch.nn.init.eye_(linear.weight)
    return _panels("sample (rows: positions)", _addressed(model)(_ones(3, 6, 8)).detach())


def _gaussian(layer: torch.nn.Module, shape: tuple[int, ...]) -> PanelList:
    return _panels("sample", _addressed(layer)(_ones(*shape)))


def _concrete() -> PanelList:
    with torch.no_grad():
        return _panels("sample", _addressed(layers.ConcreteDropout(0.3, temperature=0.5))(_ones(3, 6, 8)))


def _add() -> PanelList:
    return _panels("sample", _addressed(layers.DropoutAdd(0.5))(_ones(3, 6, 8), 0.5 * _ones(3, 6, 8)) / 2.5)


#: the picture of each layer, in the order of the page
PICTURES: dict[str, Callable[[], PanelList]] = {
    "Dropout": lambda: _panels("sample", _addressed(layers.Dropout())(_ones(3, 6, 8))),
    "Dropout1d": lambda: _panels("sample (rows: channels)", _addressed(layers.Dropout1d())(_ones(3, 6, 8))),
    "Dropout2d": lambda: _panels("channel", _addressed(layers.Dropout2d())(_ones(1, 5, 6, 6))[0]),
    "Dropout3d": lambda: _panels("channel (one depth)", _addressed(layers.Dropout3d())(_ones(1, 5, 2, 6, 6))[0, :, 0]),
    "BatchDropout": lambda: _panels("sample", _addressed(layers.BatchDropout())(_ones(3, 6, 8))),
    "ThinnedMLP": _mlp,
    "ThinnedFeedForward": _feed_forward,
    "LockedDropout": lambda: _panels("time (rows: samples)", _addressed(layers.LockedDropout())(_ones(4, 3, 8))),
    "DropPath": lambda: _panels("sample", _addressed(layers.DropPath(0.4))(_ones(5, 6, 6))),
    "StochasticDepth": _depth,
    "LayerDrop": _layer,
    "WordDropout": _words,
    "EmbeddingDropout": _embedding,
    "DropBlock2d": _block,
    "DropConnect": lambda: [("weight (all samples)", _addressed(layers.DropConnect())(_ones(8, 14)).numpy())],
    "AlphaDropout": lambda: _gaussian(layers.AlphaDropout(), (3, 6, 8)),
    "FeatureAlphaDropout": lambda: _gaussian(layers.FeatureAlphaDropout(), (3, 6, 8)),
    "GaussianDropout": lambda: _gaussian(layers.GaussianDropout(0.2), (3, 6, 8)),
    "ConcreteDropout": _concrete,
    "DropoutAdd": _add,
    "MultiheadAttention": _attention,
    "DropHead": lambda: _panels("head", _addressed(layers.DropHead(0.5))(_ones(1, 6, 5, 5))[0]),
    "ThinnedAttention": _thinned_attention,
}


def svg(panels: PanelList) -> str:
    """Panels side by side: white is 0, darker is larger, red is negative."""
    parts, x = [], 0
    height = max(values.shape[0] for _, values in panels) * CELL + 16
    for title, values in panels:
        columns = values.shape[1]
        parts.append(f'<text x="{x}" y="10">{title}</text>')
        for (i, j), value in np.ndenumerate(values):
            shade = round(min(abs(float(value)) / 2, 1) * 100)
            hue = 215 if value >= 0 else 5
            fill = "#fff" if value == 0 else f"hsl({hue},60%,{100 - round(shade * 0.6)}%)"
            parts.append(
                f'<rect x="{x + j * CELL}" y="{15 + i * CELL}" width="{CELL}" height="{CELL}" fill="{fill}" '
                'stroke="#999" stroke-width=".5"/>'
            )
        x += max(columns * CELL, 5 * len(title)) + 12
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{x}" height="{height}" font-family="sans-serif" '
        f'font-size="9">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _signature(cls: type[torch.nn.Module]) -> str:
    parameters = list(inspect.signature(cls).parameters.values())
    line = f"{cls.__name__}({', '.join(map(str, parameters))})"
    if len(line) > WIDTH:
        line = f"{cls.__name__}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + ")"
    return line.replace("torch.", "")


def _sections(docstring: str) -> dict[str, list[str]]:
    """The lines of each section of a docstring; "" is the text before the first."""
    sections: dict[str, list[str]] = {"": []}
    name = ""
    for line in docstring.split("\n"):
        if line.removesuffix(":") in {"Args", "Attributes", "Shape", "Raises", "Example"}:
            name = line.removesuffix(":")
        sections.setdefault(name, []).append(line)
    return sections


def _section(name: str) -> str:
    cls = getattr(layers, name)
    docstring = re.sub(r":(?:class|func):(?=`)", "", (inspect.getdoc(cls) or "").replace("``", "`"))
    sections = _sections(docstring)
    paragraphs = "\n".join(sections[""]).strip().split("\n\n")
    text = "\n\n".join(textwrap.fill(" ".join(p.split()), WIDTH, break_on_hyphens=False) for p in paragraphs)
    shape = "\n".join(line.strip() for line in sections["Shape"][1:] if line.strip())
    picture = f"![A mask of {name}](images/{name}.svg)"
    return f"## {name}\n\n```\n{_signature(cls)}\n```\n\n{picture}\n\n{text}\n\nShape:\n\n{_wrapped_list(shape)}\n"


def _wrapped_list(lines: str) -> str:
    items = " ".join(lines.split()).split(" - ")
    return "\n".join(
        textwrap.fill(
            item.removeprefix("- "), WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
        )
        for item in items
    )


def files() -> dict[Path, str]:
    """Every generated file and its text."""
    pages = {DOCS / "images" / f"{name}.svg": svg(draw()) for name, draw in PICTURES.items()}
    pages[DOCS / "layers.md"] = "\n".join([INTRODUCTION, *map(_section, PICTURES)])
    return pages


if __name__ == "__main__":
    from generated import main

    raise SystemExit(main(files(), "layers.py"))
