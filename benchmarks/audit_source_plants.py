"""Dropout mistakes planted into source code, for the rules that read files; see ``benchmarks/audit_recall.py``.

TD105 and TD106 take the training scripts of ``audit_scripts.py``, the other rules one class of each model file.
"""

import importlib.util
import itertools
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from audit_scripts import SCRIPTS

__all__ = ["SOURCE_PLANTS", "source_hosts"]

MODELS = (
    *("bert", "distilbert", "bart", "vit", "gpt2", "roberta", "electra", "t5", "opt", "deit", "mpnet", "xglm", "swin"),
    *("gpt_neox", "bloom", "pegasus", "beit", "canine", "albert", "deberta", "funnel", "xlnet", "longformer", "mbart"),
    *("marian", "speech_to_text", "wav2vec2", "hubert", "biogpt", "codegen", "ctrl", "layoutlm", "luke", "convbert"),
    *("squeezebert", "rembert", "fnet", "ibert", "mobilebert", "nystromformer", "yoso", "roformer", "splinter", "led"),
)
HEAD = "import torch\nimport torch.utils.checkpoint\nfrom torch import nn\n\n\n"
CALL = re.compile(r"^( +)(\w+) = self\.(\w*dropout\w*)\(\2\)$", re.MULTILINE)
LAYER = re.compile(r"nn\.Dropout\((?!0\.0\))[^()]*\)")

SourcePlant = Callable[[str, random.Random], str | None]


def source_hosts(code: str) -> Iterator[tuple[str, str]]:
    """Names and texts of correct sources: a script, or a class of a model with its imports."""
    if code in {"TD105", "TD106"}:
        yield from SCRIPTS.items()
        return
    for name in MODELS:
        spec = importlib.util.find_spec(f"transformers.models.{name}")
        folder = Path(str(spec.origin)).parent if spec else Path()
        file = folder / f"modeling_{name}.py"
        text = file.read_text("utf-8") if file.is_file() else ""
        for body in re.split(r"^(?=class |@|def )", text, flags=re.MULTILINE):
            if body.startswith("class ") and CALL.search(body) and LAYER.search(body):
                yield f"transformers/models/{name} {body[6 : body.index('(')]}", HEAD + body
                break


def without_eval(text: str, choice: random.Random) -> str | None:  # noqa: ARG001
    """No ``eval()`` of the trained model."""
    planted = re.sub(r"^ *else:\n +(?:\w+\.)*\w+\.eval\(\)\n", "", text, flags=re.MULTILINE)
    planted = re.sub(r"^ +(?:\w+\.)*\w+\.eval\(\)\n", "", planted, flags=re.MULTILINE)
    return planted if planted != text and ("no_grad" in text or "inference_mode" in text) else None


def without_train(text: str, choice: random.Random) -> str | None:
    """``train()`` before the loop alone, or not at all."""
    lines = re.findall(r"^ +((?:\w+\.)*\w+\.train\(\))\n", text, flags=re.MULTILINE)
    if not lines:
        return None
    planted = re.sub(r"^ +if phase == \"train\":\n +\w+\.train\(\)\n +else:\n    ( +)", r"\1", text, flags=re.MULTILINE)
    if planted == text:
        planted = re.sub(r"^ +(?:\w+\.)*\w+\.train\(\)\n", "", text, flags=re.MULTILINE)
    loop = re.search(r"^(?:for|while) ", planted, re.MULTILINE)
    if loop and "self" not in lines[0] and choice.random() < 0.5:
        planted = f"{planted[: loop.start()]}{lines[0]}\n{planted[loop.start() :]}"
    return planted


def replaced(pattern: re.Pattern[str], *replacements: str) -> SourcePlant:
    """Replace one match by one of the replacements."""

    def plant(text: str, choice: random.Random) -> str | None:
        matches = list(pattern.finditer(text))
        if not matches:
            return None
        match = choice.choice(matches)
        return text[: match.start()] + match.expand(choice.choice(replacements)) + text[match.end() :]

    return plant


def never_called(text: str, choice: random.Random) -> str | None:
    """A dropout layer that one class builds, and whose calls in that class are gone."""
    classes = [match.start() for match in re.finditer(r"^class ", text, re.MULTILINE)] + [len(text)]
    bodies = list(itertools.pairwise(classes))
    choice.shuffle(bodies)
    for start, end in bodies:
        body = text[start:end]
        built = re.search(r"self\.(\w*dropout\w*) = nn\.Dropout\((?!0)", body)
        if built is None or "def forward(" not in body:
            continue
        planted = re.sub(rf"^ +\w+ = self\.{built[1]}\(\w+\)\n", "", body, flags=re.MULTILINE)
        if planted != body and f"self.{built[1]}(" not in planted:
            return text[:start] + planted + text[end:]
    return None


_BUILT = r"\1\2 = nn.Dropout(0.1)(\2)"
_SEED = r"\1torch.manual_seed(42)\n\g<0>"
_RECURRENT = (
    "nn.LSTM(16, 16, dropout=0.5)",
    "nn.GRU(16, 16, 1, dropout=0.3)",
    "nn.LSTM(8, 8, num_layers=1, dropout=0.2)",
)
_CHECKPOINT = (
    r"\1\2 = torch.utils.checkpoint.checkpoint(self.\3, \2, preserve_rng_state=False)",
    r"\1\2 = torch.utils.checkpoint.checkpoint(self.\3, \2, use_reentrant=False, preserve_rng_state=False)",
)
SOURCE_PLANTS: dict[str, SourcePlant] = {
    "TD101": replaced(
        CALL, r"\1\2 = nn.functional.dropout(\2, p=0.1)", r"\1\2 = nn.functional.dropout(\2, self.\3.p, True)"
    ),
    "TD103": replaced(CALL, _BUILT, r"\1\2 = nn.Dropout(p=self.\3.p)(\2)"),
    "TD105": without_eval,
    "TD106": without_train,
    "TD207": replaced(CALL, r"\1self.\3(\2)", r"\1nn.functional.dropout(\2, p=0.1, training=self.training)"),
    "TD301": never_called,
    "TD302": replaced(LAYER, *_RECURRENT),
    "TD303": replaced(LAYER, "nn.Dropout(0.75)", "nn.Dropout(p=0.8)"),
    "TD304": replaced(LAYER, "nn.Dropout(0.9)", "nn.Dropout(p=0.95)"),
    "TD308": replaced(
        CALL, r"\1\2 = nn.functional.dropout(\2, self.training)", r"\1\2 = nn.functional.dropout(\2, p=1.0)"
    ),
    "TD401": replaced(CALL, _SEED),
    "TD402": replaced(CALL, *_CHECKPOINT),
}
