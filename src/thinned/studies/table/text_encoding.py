"""The encoding of free text: weighted words and character n-grams, projected on the training texts' singular vectors.

A text is counted as its words, and as the 3- and 4-grams of characters within what blanks part. A count enters as its
square root times the logarithm of the inverse frequency of the word or n-gram among the training rows (tf-idf); words
and n-grams are each scaled to length 1. A truncated singular value decomposition of the training rows (Deerwester et
al. 1990) leaves 100 columns.

A row is encoded alone bit for bit as among others: counts are integers, square roots are exact by IEEE 754, and sums
run in the order of the vocabulary.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from thinned.studies.cores import one_core
from thinned.studies.table.columns import Column
from thinned.studies.table.readings import ColumnReading, TextReading, read_text
from thinned.studies.table.state_entries import State, check_entries, finite_numbers

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["TextEncoding"]

Floats: TypeAlias = npt.NDArray[np.float64]
Matrix: TypeAlias = "sparse.csr_array"

COMPONENTS = 100
WORDS, NGRAMS = 5_000, 10_000  # at most, the most frequent ones
LENGTHS = (3, 4)  # of n-grams
CHARACTERS = 10_000  # of a text that are read
FIT_TEXTS, FIT_CHARACTERS = 20_000, 4_000_000  # from which an encoding is fitted
TOGETHER = 1_000_000  # characters that are counted at once
ITERATIONS = 2  # of the randomised decomposition (Halko, Martinsson & Tropp 2011)
LEAST = 1e-6  # of the largest singular value; smaller ones may be rounding errors
UNIT, HIGHEST = 2.0**-15, 2.0**15 - 1  # components are kept as 16-bit integers
_WORD = re.compile(r"\w+")
_HIGHEST_IDF = 64.0  # 1 + log(rows) is less for any table


def _words(part: str) -> list[str]:
    return _WORD.findall(part)


def _ngrams(part: str) -> list[str]:
    padded = f" {part} "
    return [padded[i : i + n] for n in LENGTHS for i in range(len(padded) - n + 1)]


FAMILIES: tuple[Callable[[str], list[str]], ...] = (_words, _ngrams)


class Counts(NamedTuple):
    """The parts of texts, which blanks separate.

    Attributes:
        parts: the distinct ones.
        counts: ``(texts, parts)``.
    """

    parts: list[str]
    counts: Matrix


class _Numbers(dict[str, int]):
    """Numbers of terms; a new one gets the next."""

    def __missing__(self, term: str) -> int:
        self[term] = number = len(self)
        return number


class _KnownNumbers(dict[str, int]):
    """Numbers of terms; a new one gets the number after the last."""

    def __missing__(self, term: str) -> int:
        return len(self)


def _count(rows: Iterable[Iterable[str]], numbers: dict[str, int]) -> Matrix:
    """Count the terms in each row by their numbers, ``(rows, terms)``; there may be one number too many."""
    from scipy import sparse  # noqa: PLC0415 - a study's dependency

    taken, ends = array("q"), [0]
    for row in rows:
        taken.extend(map(numbers.__getitem__, row))
        ends.append(len(taken))
    shape = len(ends) - 1, len(numbers) + 1
    counts = sparse.csr_array((np.ones(len(taken)), np.asarray(taken), np.asarray(ends)), shape=shape)
    return counts[:, : len(numbers)]


def _parts(texts: Sequence[str]) -> Counts:
    numbers = _Numbers()
    counts = _count((text[:CHARACTERS].lower().split() for text in texts), numbers)
    return Counts(list(numbers), counts)


def _most_frequent(terms: Sequence[str], totals: Floats, most: int) -> list[str]:
    order = sorted(range(len(terms)), key=lambda i: (-totals[i], terms[i]))
    return sorted(terms[i] for i in order[:most])


class Vocabulary:
    """The words and n-grams that are counted.

    Args:
        words: the words.
        ngrams: the n-grams.
    """

    def __init__(self, words: Sequence[str], ngrams: Sequence[str]) -> None:
        self.families = (list(words), list(ngrams))
        self._numbers = [_KnownNumbers(zip(terms, range(len(terms)), strict=True)) for terms in self.families]

    @classmethod
    def fit(cls, parts: Counts, weights: Floats) -> Self:
        """Take the most frequent words and n-grams of weighted texts."""
        totals = parts.counts.T @ weights
        families = []
        for terms_of, most in zip(FAMILIES, (WORDS, NGRAMS), strict=True):
            numbers = _Numbers()
            counts = _count(map(terms_of, parts.parts), numbers)
            families.append(_most_frequent(list(numbers), counts.T @ totals, most))
        return cls(*families)

    def count(self, parts: Counts) -> list[Matrix]:
        """Count each family in texts, ``(texts, terms)`` each."""
        counted = []
        for terms_of, numbers in zip(FAMILIES, self._numbers, strict=True):
            counts = parts.counts @ _count(map(terms_of, parts.parts), numbers)
            counts.sort_indices()
            counted.append(counts)
        return counted


class TextEncoding:
    """Tf-idf of words and character n-grams, projected on singular vectors; missing values are texts without any."""

    kind: ClassVar[str] = "text"
    unit: ClassVar[bool] = False

    def __init__(self, name: str, missing: bool, vocabulary: Vocabulary, idf: Floats, components: Floats) -> None:
        self.name, self.missing, self.vocabulary, self.idf, self.components = name, missing, vocabulary, idf, components
        self.names = [f"{name} is missing"] * missing + [f"{name} component {i + 1}" for i in range(self.pieces)]

    @property
    def pieces(self) -> int:
        """The number of components; they share a scale."""
        return int(self.components.shape[1])

    @classmethod
    def fit(cls, column: Column) -> Self | None:
        """Take vocabulary, frequencies and components; None where every cell is missing."""
        from sklearn.utils.extmath import randomized_svd  # noqa: PLC0415 - a study's dependency

        text = column.text
        numbers = _sample(text.labels, text.counts)
        if not numbers.size:
            return None
        weights = text.counts[numbers].astype(np.float64)
        parts = _parts([text.labels[i] for i in numbers])
        vocabulary = Vocabulary.fit(parts, weights)
        counted = vocabulary.count(parts)
        rows = weights.sum()
        frequency = np.concatenate([weights @ counts.astype(bool) for counts in counted])
        idf = 1.0 + np.log((1.0 + rows) / (1.0 + frequency))
        matrix = _weighted(counted, idf)
        with one_core():
            _, values, vectors = randomized_svd(
                matrix.multiply(np.sqrt(weights / rows)[:, None]).tocsr(),
                n_components=min(COMPONENTS, *matrix.shape),
                n_iter=ITERATIONS,
                random_state=0,
            )
        components = np.rint(vectors[values > LEAST * values[0]].T / UNIT).clip(-HIGHEST, HIGHEST)
        return cls(column.name, bool((text.codes < 0).any()), vocabulary, idf, UNIT * components)

    def transform(self, column: Column, reading: ColumnReading) -> Floats:
        """Encode a column."""
        assert isinstance(reading, TextReading)  # noqa: S101 (for the type checker)
        text = read_text(column, reading)
        # the last row, code -1, is for missing cells
        table = np.zeros((len(text.labels) + 1, len(self.names)))
        table[-1, : self.missing] = 1.0
        for start, stop in _blocks(text.labels):
            counted = self.vocabulary.count(_parts(text.labels[start:stop]))
            table[start:stop, self.missing :] = _weighted(counted, self.idf) @ self.components
        return table[text.codes]

    def state(self) -> dict[str, object]:
        """Give what :meth:`from_state` takes."""
        words, ngrams = ("\n".join(terms) for terms in self.vocabulary.families)  # no term has a line feed
        state = {"name": self.name, "missing": self.missing, "words": words, "ngrams": ngrams}
        return {**state, "idf": self.idf, "components": np.rint(self.components / UNIT).astype(np.int16)}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Restore the encoding."""
        texts = ("name", "words", "ngrams")
        kinds = dict.fromkeys(texts, str) | {"missing": bool, "idf": np.ndarray, "components": np.ndarray}
        check_entries(state, kinds)
        families = [_terms(str(state[name]), most) for name, most in (("words", WORDS), ("ngrams", NGRAMS))]
        size = sum(map(len, families))
        idf = finite_numbers(state, "idf", size)
        components = UNIT * finite_numbers(state, "components", size, None, dtype=np.int16)
        if idf.min() < 1.0 or idf.max() > _HIGHEST_IDF:
            raise ValueError("idf must be of frequencies")
        if components.shape[1] > COMPONENTS:
            raise ValueError(f"components must be {COMPONENTS} at most")
        return cls(str(state["name"]), bool(state["missing"]), Vocabulary(*families), idf, components)


def _terms(text: str, most: int) -> list[str]:
    terms = text.split("\n") if text else []
    if len(set(terms)) < len(terms) or len(terms) > most:
        raise ValueError("a vocabulary must be of distinct terms")
    return terms


def _sample(labels: Sequence[str], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Choose the texts from which an encoding is fitted."""
    numbers = np.flatnonzero(counts)
    if len(numbers) > FIT_TEXTS:
        numbers = np.sort(np.random.default_rng(0).choice(numbers, FIT_TEXTS, replace=False))
    characters = np.cumsum([min(len(labels[i]), CHARACTERS) for i in numbers.tolist()])
    return numbers[: max(1, int(np.searchsorted(characters, FIT_CHARACTERS)))]


def _blocks(labels: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Divide texts into blocks of bounded length."""
    start = characters = 0
    for number, label in enumerate(labels):
        if characters > TOGETHER:
            yield start, number
            start, characters = number, 0
        characters += min(len(label), CHARACTERS)
    if labels:
        yield start, len(labels)


def _weighted(counted: Sequence[Matrix], idf: Floats) -> Matrix:
    """Counts as tf-idf, each family of length 1."""
    from scipy import sparse  # noqa: PLC0415 - a study's dependency
    from sklearn.preprocessing import normalize  # noqa: PLC0415

    weighted, start = [], 0
    for counts in counted:
        stop = start + counts.shape[1]
        if stop > start:  # a text of signs has no words
            counts.data = np.sqrt(counts.data) * idf[start:stop][counts.indices]
            weighted.append(normalize(counts, copy=False))
        start = stop
    return sparse.hstack(weighted, format="csr")
