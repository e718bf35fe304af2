"""Trains the networks of one stack, and makes their records."""

from collections.abc import Callable, Sequence
from functools import partial

from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import Split
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.generators import seeded_generators
from thinned.studies.training.apply_setting import SettingApplication, site_overrides
from thinned.studies.training.loop.checkpoint import Checkpoint
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.fit import make_network
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.streams import Streams
from thinned.studies.training.loop.train import network_record
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.stack.fit import StackTraining
from thinned.studies.training.stack.network_stack import NetworkStack

__all__ = ["make_stack", "train_stack"]


def train_stack(
    functions: NetworkFunctions,
    application: SettingApplication,
    examples: ExampleSet,
    split: Split,
    settings: Sequence[Setting],
    config: NetworkConfig,
    seed: int,
    members: Sequence[Member],
    report: Callable[[int], None] = lambda epoch: None,
    checkpoint: Checkpoint | None = None,
) -> list[TrainedNetwork]:
    """Train networks of one split as one program; see :func:`thinned.studies.training.loop.train.train_network`.

    A member's numbers are those that it has alone, up to the rounding of batched products, which training magnifies.

    Args:
        functions: those of the user.
        application: makes the networks of the settings.
        examples: the examples.
        split: numbers of the examples that train, validate and test; without test examples the given test set is taken.
        settings: that of each member; all have one key of :func:`thinned.studies.training.stack.groups.stack_key`.
        config: how to train; a setting adds its own.
        seed: seed of the study.
        members: the networks' places in the plan.
        report: called every half second and after each epoch with the number of finished epochs.
        checkpoint: where the training goes on from, should it be interrupted; None keeps none.

    Raises:
        InputError: the networks do not fit the examples, or can't run as one program.
    """
    streams = Streams(seed, split.repeat, split.fold)
    with seeded_generators(streams.weights, config.torch_device()):
        _, training = make_stack(functions, application, examples, split, settings, config, streams)
        if checkpoint is not None and (found := checkpoint.load()) is not None:
            training.resume(*found)
        training.run(report, checkpoint)
        fitted = [training.finish(number) for number in range(len(members))]
    if checkpoint is not None:
        checkpoint.remove()
    record = partial(network_record, examples=examples, split=split, epochs=config.epochs, seed=seed)
    return [record(network, member=member) for network, member in zip(fitted, members, strict=True)]


def make_stack(
    functions: NetworkFunctions,
    application: SettingApplication,
    examples: ExampleSet,
    split: Split,
    settings: Sequence[Setting],
    config: NetworkConfig,
    streams: Streams,
) -> tuple[NetworkStack, StackTraining]:
    """Build the networks of a stack with the initial weights of a split; the caller keeps the generators."""
    prepare = partial(application.to_stack, settings=settings)
    network = make_network(functions, prepare, examples, streams, config.torch_device())
    stack = NetworkStack(network, [site_overrides(setting, application.sites) for setting in settings])
    configs = [config.with_setting(setting) for setting in settings]
    return stack, StackTraining(stack, functions, examples, split, configs, streams)
