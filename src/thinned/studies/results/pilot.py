"""The pilot of a study that chooses, then confirms, as ``results.json`` holds it."""

from typing import Annotated

from msgspec import Meta

from thinned.studies.results.entries import Count, Entry, Number, Positive, PositiveCount, Rate

__all__ = ["PilotSetting", "PilotSummary"]


class PilotSetting(Entry, frozen=True, kw_only=True):
    """A setting of the pilot: its validation loss with each seed; ``chosen`` where an arm took it to the confirmation.

    ``dropout`` is the rate of all sites, 0 where they have rates of their own.
    """

    label: str
    dropout: Rate
    validation: Annotated[tuple[Number, ...], Meta(min_length=1)]
    best_epoch: Positive
    chosen: bool


class PilotSummary(Entry, frozen=True, kw_only=True):
    """The pilot: how many networks it trained, and how many one study of all settings on all splits would train."""

    networks: PositiveCount
    seeds: PositiveCount
    settings: tuple[PilotSetting, ...]
    nested: Count
