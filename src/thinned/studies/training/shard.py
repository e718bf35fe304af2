"""Parts of a study that run apart, as the tasks of a batch queue's array."""

import re
from collections.abc import Sequence
from typing import NamedTuple, Self, TypeVar

from thinned.errors import InputError, sentence

__all__ = ["Shard"]

J = TypeVar("J")


class Shard(NamedTuple):
    """Part ``number`` of ``parts``; the first is 1."""

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "3/16".

        Raises:
            InputError: the text is something else, or the number lies outside 1 to the number of parts.
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        shard = cls(int(match[1]), int(match[2])) if match else None
        if shard is None or not 1 <= shard.number <= shard.parts:
            raise InputError(sentence("a shard must be given as NUMBER/PARTS, as 3/16", f"got {text!r}"))
        return shard

    def part(self, jobs: Sequence[J], noun: str = "cohorts") -> list[J]:
        """Every ``parts``-th job; jobs are in order of cost, so that parts cost nearly the same.

        Args:
            jobs: all jobs.
            noun: name of the jobs in messages.

        Raises:
            InputError: there are fewer jobs than parts.
        """
        if self.parts > len(jobs):
            found = f"got {self.parts} for {len(jobs)} {noun}"
            raise InputError(sentence(f"there must not be more shards than {noun}", found, "take fewer shards"))
        return list(jobs[self.number - 1 :: self.parts])

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"
