"""The part of a plan that a study of a network of one's own has besides that of tables."""

import dataclasses
from typing import Literal, TypeAlias

from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.questions import Question

__all__ = ["Identities", "Insertion", "NetworkDesign", "Stage"]

#: "nested": every setting trains on every split, as in a study of a table. "pilot" chooses the setting of each arm on
#: one half of the examples, "confirm" compares the chosen ones on test folds of the other half.
Stage: TypeAlias = Literal["nested", "pilot", "confirm"]


@dataclasses.dataclass(frozen=True)
class Identities:
    """Digests by which the callables of a study are recognised; None where there is no source, or no such callable.

    Attributes:
        build: SHA-256 of the source that makes the network.
        state: SHA-256 of the network's state right after it was built under a fixed seed.
        loss: SHA-256 of the source of the loss.
        score: SHA-256 of the source of the score.
        train: SHA-256 of the source of the user's training function.
        sampler: SHA-256 of the source of the sampler.
        collate: SHA-256 of the source of the collate function.
    """

    build: str | None = None
    state: str | None = None
    loss: str | None = None
    score: str | None = None
    train: str | None = None
    sampler: str | None = None
    collate: str | None = None


@dataclasses.dataclass(frozen=True)
class Insertion:
    """Where ``thinned.insert_dropout`` put the sites of a network that had none.

    Attributes:
        where: its argument ``where``, in words where it was not one of the names that it knows.
        layers: qualified names of the layers before which it placed a site; given as ``where`` to another instance of
            the network, they place the same sites.
    """

    where: str
    layers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class NetworkDesign:
    """What follows from the user's network and examples in a plan, frozen before the first network trains.

    Attributes:
        stage: which part of the study the plan is.
        test_examples: number of examples of a given test set; 0 where test folds are cut from the examples.
        sites: the dropout sites whose rates the arms vary.
        noise: functions by which the network draws random numbers of its own, which no arm changes.
        inserted: the sites that were put into the network; None where they are its own.
        training: how networks are trained, as names and values of the training's configuration; "train" alone where a
            function of the user's trains them.
        identities: digests of the callables.
        questions: the comparisons that are declared.
        duplicates: label of each arm that trains the same networks as another one and is left out, and of that one.
        division_seed: seed from which the halves of "pilot" and "confirm" follow.
        pilot: digest of the plan whose networks chose the settings of a "confirm" plan.
    """

    stage: Stage
    test_examples: int = 0
    sites: tuple[NetworkSite, ...] = ()
    noise: tuple[str, ...] = ()
    inserted: Insertion | None = None
    training: tuple[tuple[str, str | int | float | None], ...] = ()
    identities: Identities = dataclasses.field(default_factory=Identities)
    questions: tuple[Question, ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()
    division_seed: int = 0
    pilot: str | None = None

    @property
    def trains_itself(self) -> bool:
        """True where the study trains the networks, false where a function of the user's does."""
        return "train" not in dict(self.training)

    def to_dict(self) -> dict[str, object]:
        """The design as JSON types, but for the questions, which stand in the plan."""
        entries = dataclasses.asdict(self) | {"sites": [site._asdict() for site in self.sites]}
        del entries["questions"]
        return entries
