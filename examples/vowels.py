"""An LSTM on JapaneseVowels: nine speakers, told apart by 270 recordings of a vowel, and 370 given for the test."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from thinned.errors import InputError, sentence

Sequence = tuple[torch.Tensor, int]


def examples() -> tuple[list[Sequence], list[Sequence]]:
    """Training and test set: pairs of a recording, ``(steps, 12)`` with 7 to 29 steps, and its speaker from 0.

    Raises:
        InputError: sktime, which carries the files, is not installed.
    """
    spec = find_spec("sktime")
    if spec is None or spec.origin is None:
        raise InputError(sentence("JapaneseVowels must be installed", "there is no sktime", "pip install sktime"))
    folder = Path(spec.origin).parent / "datasets/data/JapaneseVowels"
    return _read(folder / "JapaneseVowels_TRAIN.ts"), _read(folder / "JapaneseVowels_TEST.ts")


def collate(items: list[Sequence]) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A batch ``((sequences, lengths), speakers)``; the sequences are filled up with zeros behind their last step."""
    sequences, speakers = zip(*items, strict=True)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return (pad_sequence(sequences, batch_first=True), lengths), torch.tensor(speakers)


class Recogniser(nn.Module):
    """Two LSTM layers, of which the output at the last step of each sequence decides."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.input_dropout = nn.Dropout(0.2)
        self.lstm = nn.LSTM(12, hidden, num_layers=2, dropout=0.2, batch_first=True)
        self.output_dropout = nn.Dropout(0.2)
        self.hidden, self.hidden_dropout = nn.Linear(hidden, hidden), nn.Dropout(0.2)
        self.output = nn.Linear(hidden, 9)

    def forward(self, sequences: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits ``(N, 9)`` of sequences ``(N, steps, 12)``."""
        states, _ = self.lstm(self.input_dropout(sequences))
        last = self.output_dropout(states)[torch.arange(len(lengths)), lengths - 1]
        return self.output(self.hidden_dropout(self.hidden(last).relu()))


def network() -> nn.Module:
    """An LSTM with dropout on its input, between its layers, on its output and on the hidden layer."""
    return Recogniser()


def _read(path: Path) -> list[Sequence]:
    """A recording a line: 12 lists of one number for each step, divided by colons, and the speaker from 1."""
    items = []
    for line in path.read_text().splitlines():
        if line and line[0] not in "#@":
            *columns, speaker = line.split(":")
            steps = zip(*([float(number) for number in column.split(",")] for column in columns), strict=True)
            items.append((torch.tensor(list(steps)), int(speaker) - 1))
    return items
