"""The plan as ``results.json`` has it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from thinned.studies.results.entries import Count, Entry, Number, Positive, PositiveCount, Probability, Rate, Reading

__all__ = [
    "PlanSummary",
    "PlannedArm",
    "PlannedIdentities",
    "PlannedInsertion",
    "PlannedNetwork",
    "PlannedQuestion",
    "PlannedSetting",
    "PlannedSite",
    "PlannedSiteRates",
]


class PlannedSiteRates(Entry, frozen=True, kw_only=True):
    """Rates of a network's dropout sites: the fields of ``thinned.studies.design.setting.SiteRates``."""

    scale: Annotated[float, Meta(ge=0, le=1e100)] | None = None
    groups: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    form: str | None = None


class PlannedSetting(Entry, frozen=True, kw_only=True):
    """A setting of the plan: the fields of ``thinned.studies.design.setting.Setting``, and its label."""

    label: str
    dropout: Rate
    where: str = "hidden"
    weight_decay: Number = 0.0
    max_norm: Number | None = None
    batch_norm: str | None = None
    one_mask: bool = False
    schedule: str = "constant"
    embedding: str | None = None
    extras: tuple[tuple[str, Number], ...] | msgspec.UnsetType = msgspec.UNSET
    sites: PlannedSiteRates | msgspec.UnsetType = msgspec.UNSET
    learning_rate: Positive | msgspec.UnsetType = msgspec.UNSET

    @property
    def drops(self) -> bool:
        """True where some dropout site has a rate above 0."""
        return self.dropout > 0 or (isinstance(self.sites, PlannedSiteRates) and bool(self.sites.scale))


class PlannedArm(Entry, frozen=True, kw_only=True):
    """An arm of the plan; ``settings`` are indices of the plan's settings."""

    name: str
    label: str
    settings: Annotated[tuple[Count, ...], Meta(min_length=1)]
    warning: str | None


class PlannedQuestion(Entry, frozen=True, kw_only=True):
    """A comparison that was declared before the run."""

    arm: str
    when: Reading
    against: str
    against_when: Reading
    text: str
    primary: bool


class PlannedSite(Entry, frozen=True, kw_only=True):
    """A dropout site: the fields of ``thinned.studies.design.own_network.site_groups.NetworkSite``."""

    name: str
    kind: str
    group: str
    rate: Probability
    shape: tuple[Count, ...]
    form: str | None
    axes: tuple[Count, ...]


class PlannedIdentities(Entry, frozen=True, kw_only=True):
    """Digests of the callables: ``thinned.studies.design.own_network.network_design.Identities``."""

    build: str | None
    state: str | None
    loss: str | None
    score: str | None
    train: str | None
    sampler: str | None = None
    collate: str | None = None


class PlannedInsertion(Entry, frozen=True, kw_only=True):
    """Sites that were put into a network that had none."""

    where: str
    layers: tuple[str, ...]


class PlannedNetwork(Entry, frozen=True, kw_only=True):
    """The fields of ``thinned.studies.design.own_network.network_design.NetworkDesign`` but for the questions."""

    stage: str
    test_examples: Count
    sites: tuple[PlannedSite, ...]
    noise: tuple[str, ...]
    inserted: PlannedInsertion | None
    training: tuple[tuple[str, str | int | Number | None], ...]
    identities: PlannedIdentities
    duplicates: tuple[tuple[str, str], ...] = ()
    division_seed: Annotated[int, Meta(ge=0)]
    pilot: str | None

    @property
    def trains_itself(self) -> bool:
        """True where the study trained the networks, false where a function of the user's did."""
        return "train" not in dict(self.training)


class PlanSummary(Entry, frozen=True, kw_only=True):
    """The plan, and the digest by which a run is recognised; ``own`` where the network is the user's."""

    arms: Annotated[tuple[PlannedArm, ...], Meta(min_length=1)]
    settings: Annotated[tuple[PlannedSetting, ...], Meta(min_length=1)]
    questions: tuple[PlannedQuestion, ...]
    folds: PositiveCount
    seeds: PositiveCount
    hidden: tuple[PositiveCount, ...]
    epochs: PositiveCount
    batch_size: PositiveCount
    learning_rate: Positive
    seed: Annotated[int, Meta(ge=0)]
    task: str
    data: str
    rows: PositiveCount
    sizes: tuple[PositiveCount, ...]
    network: str | None
    network_source: str | None = None
    group: str | None
    time: str | None
    group_duplicates: bool | msgspec.UnsetType = msgspec.UNSET
    columns: tuple[tuple[str, str], ...] | msgspec.UnsetType = msgspec.UNSET
    own: PlannedNetwork | msgspec.UnsetType = msgspec.UNSET
    digest: str

    @property
    def splits(self) -> int:
        """Test folds of all repeats."""
        return self.folds * self.seeds
