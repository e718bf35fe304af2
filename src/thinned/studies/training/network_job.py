"""The jobs of a study of one's own network: a network each or a stack of them; engines copy them to their workers."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from thinned.errors import sentence
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import Split
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.pickling import PickledByValue
from thinned.studies.training.apply_setting import SettingApplication
from thinned.studies.training.loop.checkpoint import SECONDS, Checkpoint
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.train import train_network
from thinned.studies.training.own_training.fields import needed_fields
from thinned.studies.training.own_training.train import Apply, OwnTraining, train_by_function
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.stack.train import train_stack
from thinned.studies.user_code import UserCodeError, is_out_of_memory

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

    def of_stack(self, members: Sequence[Member]) -> Checkpoint:
        """The checkpoint of a stack of networks."""
        first = "-".join(map(str, members[0]))
        return Checkpoint(self.folder / f"{first}-stack.safetensors", f"{self.identity} {members}", self.seconds)

    def folder_of(self, member: Member) -> Path:
        """The folder of one network that a function of the user's trains; another plan has others."""
        return self.folder / "-".join([self.identity, *map(str, member)])


@dataclasses.dataclass(frozen=True)
class NetworkTraining:
    """The work of a study of one's own network: job ``number`` trains the networks ``jobs[number]``.

    Several networks of a job train as a stack. Where the user's code raises then, or memory ends, they train one by
    one: what the code raises for one network is said to the user.

    Attributes:
        functions: those of the user.
        apply: makes the network of a setting.
        examples: the examples.
        settings: of the plan.
        splits: of all repeats and folds.
        jobs: the networks to train, those of a job together; several have one split and one key of
            :func:`thinned.studies.training.stack.groups.stack_key`, and ``apply`` is a :class:`SettingApplication`.
        config: how to train; a setting adds its own.
        seed: seed of the study.
        checkpoints: where those of long networks go; None keeps none.
    """

    functions: NetworkFunctions
    apply: Apply
    examples: ExampleSet
    settings: Sequence[Setting]
    splits: Sequence[Split]
    jobs: Sequence[Sequence[Member]]
    config: NetworkConfig
    seed: int
    checkpoints: Checkpoints | None = None

    def __call__(self, number: int, report: Callable[[int], None]) -> list[TrainedNetwork]:
        """Train the networks of a job; ``report`` is told the finished epochs of each."""
        members = self.jobs[number]
        split = next(s for s in self.splits if (s.repeat, s.fold) == (members[0].repeat, members[0].fold))
        if len(members) > 1:
            networks = self._train_stack(members, split, report)
            if networks is not None:
                report(self.config.epochs)
                return networks
        return [self._train(member, split, report) for member in members]

    def _train(self, member: Member, split: Split, report: Callable[[int], None]) -> TrainedNetwork:
        setting = self.settings[member.setting]
        if self.functions.train is not None:
            return self._train_by_function(member, split, report)
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
        return network

    def _train_stack(
        self, members: Sequence[Member], split: Split, report: Callable[[int], None]
    ) -> list[TrainedNetwork] | None:
        """The networks of a stack; None where they can't train so."""
        if not isinstance(self.apply, SettingApplication):
            raise TypeError(sentence("networks of a stack need a SettingApplication", f"got {self.apply!r}"))
        try:
            return train_stack(
                self.functions,
                self.apply,
                self.examples,
                split,
                [self.settings[member.setting] for member in members],
                self.config,
                self.seed,
                members,
                report,
                None if self.checkpoints is None else self.checkpoints.of_stack(members),
            )
        except UserCodeError:
            return None
        except Exception as error:
            if is_out_of_memory(error):
                return None
            raise

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
        ours = isinstance(self.apply, SettingApplication)
        apply = self.apply if ours else PickledByValue(partial(self.apply), "apply")
        values = [getattr(self, field.name) for field in dataclasses.fields(self)[2:]]
        return _restored, (functions, apply, *values)


def _restored(functions: Sequence[Callable[..., object] | None], *values: object) -> NetworkTraining:
    return NetworkTraining(NetworkFunctions(*functions), *values)  # type: ignore[arg-type]
