"""A small transformer from a local checkpoint that the Trainer of transformers fine-tunes to tell code from prose.

``python -m examples.trainer_lines`` writes a checkpoint of random weights into ``runs/checkpoint``; the environment
variable ``CHECKPOINT`` names another one, as ``save_pretrained`` writes it. Then ``thinned study --data
examples.trainer_lines:examples --network examples.trainer_lines:network --train examples.trainer_lines:train --out
runs/trainer_lines``
"""

import ast
import importlib
import inspect
import os

import torch
import transformers
from torch import nn
from torch.utils.data import default_collate

from thinned import TrainingRun

CHECKPOINT = os.environ.get("CHECKPOINT", "runs/checkpoint")
EPOCHS, LENGTH = 4, 32
transformers.utils.logging.disable_progress_bar()
PADDING = 256  # tokens are bytes, and this one
MODULES = ("argparse", "configparser", "datetime", "decimal", "difflib", "logging", "statistics", "textwrap", "typing")
Item = tuple[dict[str, torch.Tensor], torch.Tensor]


def examples() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Lines of Python's own modules: 1 where they are code, 0 where they are prose of a docstring."""
    lines: dict[bytes, int] = {}
    for name in MODULES:
        text = inspect.getsource(importlib.import_module(name))
        docstrings = {number for node in ast.walk(ast.parse(text)) for number in _docstring_lines(node)}
        for number, line in enumerate(text.splitlines(), start=1):
            if len(line.strip()) >= 20 and "#" not in line:
                lines[line.strip().encode()[:LENGTH]] = int(number not in docstrings)
    shown = sorted(lines)[:: max(1, len(lines) // 2000)]
    tokens = torch.full((len(shown), LENGTH), PADDING)
    for row, line in enumerate(shown):
        tokens[row, : len(line)] = torch.tensor(list(line))
    inputs = {"input_ids": tokens, "attention_mask": (tokens != PADDING).long()}
    return inputs, torch.tensor([lines[line] for line in shown])


def _docstring_lines(node: ast.AST) -> range:
    value = node.value if isinstance(node, ast.Expr) else None
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return range(value.lineno, (value.end_lineno or value.lineno) + 1)
    return range(0)


def network() -> nn.Module:
    """The transformer of the checkpoint, with dropout in attention and on residual branches."""
    return transformers.AutoModelForSequenceClassification.from_pretrained(CHECKPOINT)


class Report(transformers.TrainerCallback):
    """Reports the validation loss after each epoch."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run

    def on_evaluate(  # noqa: D102 - the Trainer's own
        self,
        args: transformers.TrainingArguments,  # noqa: ARG002
        state: transformers.TrainerState,
        control: transformers.TrainerControl,  # noqa: ARG002
        **found: dict[str, float],
    ) -> None:
        self.run.report(round(state.epoch or 0), found["metrics"]["eval_loss"])


def batch_of(items: list[Item]) -> dict[str, torch.Tensor]:
    """Inputs and labels by the names that the network takes."""
    x, y = default_collate(items)
    return {**x, "labels": y}


def train(network: nn.Module, run: TrainingRun) -> None:
    """Fine-tune the network that is passed; what it is after the last epoch is scored."""
    arguments = transformers.TrainingArguments(
        output_dir=str(run.folder),
        num_train_epochs=EPOCHS,
        learning_rate=3e-3,
        weight_decay=run.weight_decay,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=256,
        seed=run.seed,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = transformers.Trainer(
        network,
        arguments,
        data_collator=batch_of,
        train_dataset=run.training,
        eval_dataset=run.validation,
        callbacks=[Report(run)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


def save_checkpoint(folder: str) -> None:
    """Write a checkpoint of random weights: four heads, two layers of 64 features."""
    config = transformers.BertConfig(
        vocab_size=257,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=LENGTH,
        pad_token_id=PADDING,
        num_labels=2,
    )
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)


if __name__ == "__main__":
    save_checkpoint(CHECKPOINT)
