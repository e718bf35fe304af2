"""The jobs of a study of one's own network: one network each, which engines copy to their workers."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import Split
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.pickling import PickledByValue
from thinned.studies.training.loop.checkpoint import SECONDS, Checkpoint
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.train import train_network
from thinned.studies.training.own_training.fields import needed_fields
from thinned.studies.training.own_training.train import Apply, OwnTraining, train_by_function
from thinned.studies.training.records import TrainedNetwork

__all__ = ["Checkpoints", "NetworkTraining", "network_members"]


def network_members(settings: Sequence[Setting], splits: Sequence[Split]) -> list[Member]:
    """Every network of a study, those of the first setting first, because the primary question needs it."""
    return [Member(split.repeat, split.fold, number) for number in range(len(settings)) for split in splits]


class Checkpoints(NamedTuple):
    """Where checkpoints of long networks go.

    Attributes:
        folder: of the files, one a network, which are removed when it is finished.
        identity: of the plan; checkpoints of another one are ignored.
        seconds: between two checkpoints of a network.
    """

    folder: Path
    identity: str
    seconds: float = SECONDS

    def of_member(self, member: Member) -> Checkpoint:
        """The checkpoint of one network."""
        path = self.folder / ("-".join(map(str, member)) + ".safetensors")
        return Checkpoint(path, f"{self.identity} {member}", self.seconds)

    def folder_of(self, member: Member) -> Path:
        """The folder of one network that a function of the user's trains; another plan has others."""
        return self.folder / "-".join([self.identity, *map(str, member)])


@dataclasses.dataclass(frozen=True)
class NetworkTraining:
    """The work of a study of one's own network: job ``number`` trains the network ``members[number]``.

    Attributes:
        functions: those of the user.
        apply: makes the network of a setting.
        examples: the examples.
        settings: of the plan.
        splits: of all repeats and folds.
        members: the networks to train.
        config: how to train; a setting adds its own.
        seed: seed of the study.
        checkpoints: where those of long networks go; None keeps none.
    """

    functions: NetworkFunctions
    apply: Apply
    examples: ExampleSet
    settings: Sequence[Setting]
    splits: Sequence[Split]
    members: Sequence[Member]
    config: NetworkConfig
    seed: int
    checkpoints: Checkpoints | None = None

    def __call__(self, number: int, report: Callable[[int], None]) -> list[TrainedNetwork]:
        """Train a network; ``report`` is told its finished epochs."""
        member = self.members[number]
        setting = self.settings[member.setting]
        split = next(s for s in self.splits if (s.repeat, s.fold) == (member.repeat, member.fold))
        if self.functions.train is not None:
            return [self._train_by_function(member, split, report)]
        network = train_network(
            self.functions,
            lambda network: self.apply(network, setting),
            self.examples,
            split,
            self.config.with_setting(setting),
            self.seed,
            member,
            report,
            None if self.checkpoints is None else self.checkpoints.of_member(member),
        )
        report(self.config.epochs)  # patience may have ended it before
        return [network]

    def _train_by_function(self, member: Member, split: Split, report: Callable[[int], None]) -> TrainedNetwork:
        training = OwnTraining(
            self.functions,
            self.apply,
            self.examples,
            split,
            self.config,
            self.settings[member.setting],
            needed_fields(self.settings, self.config),
            self.seed,
        )
        folder = None if self.checkpoints is None else self.checkpoints.folder_of(member)
        network = train_by_function(training, member, folder, lambda: report(0))
        report(self.config.epochs)
        return network

    def __reduce__(self) -> tuple[object, ...]:
        named = self.functions._asdict().items()
        functions = [None if value is None else PickledByValue(partial(value), name) for name, value in named]
        apply = PickledByValue(partial(self.apply), "apply")
        values = [getattr(self, field.name) for field in dataclasses.fields(self)[2:]]
        return _restored, (functions, apply, *values)


def _restored(functions: Sequence[Callable[..., object] | None], *values: object) -> NetworkTraining:
    return NetworkTraining(NetworkFunctions(*functions), *values)  # type: ignore[arg-type]
