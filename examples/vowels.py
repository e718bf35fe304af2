"""An LSTM on JapaneseVowels: nine speakers, told apart by 270 recordings of a vowel, and 370 given for the test."""

import torch
from sktime.datasets import load_japanese_vowels
from torch import nn
from torch.nn.utils.rnn import pad_sequence

Sequence = tuple[torch.Tensor, int]


def examples() -> tuple[list[Sequence], list[Sequence]]:
    """Training and test set: pairs of a recording, ``(steps, 12)`` with 7 to 29 steps, and its speaker from 0."""
    return _part("train"), _part("test")


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


def _part(split: str) -> list[Sequence]:
    frames, speakers = load_japanese_vowels(split=split, return_X_y=True, return_type="df-list")
    return [
        (torch.tensor(frame.to_numpy(), dtype=torch.float32), int(speaker) - 1)
        for frame, speaker in zip(frames, speakers, strict=True)
    ]
