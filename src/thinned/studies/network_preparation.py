"""Prepares a study of a network of one's own: examples are read, the network is tried, the plan is made."""

from collections.abc import Callable

from torch import nn

from thinned.errors import InputError, sentence
from thinned.import_path import import_object, source_digest
from thinned.studies.design.own_network.make_network_plan import budget_of_options, make_network_plan
from thinned.studies.design.own_network.network_design import Identities
from thinned.studies.design.own_network.options import NetworkOptions
from thinned.studies.design.own_network.studied_sites import StudiedSites, studied_sites
from thinned.studies.design.plan import Plan
from thinned.studies.examples.batch import Inputs
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.generators import seeded_generators
from thinned.studies.examples.load import load_examples
from thinned.studies.training.apply_setting import SettingApplication
from thinned.studies.training.loop.check import check_network
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.network_run import NetworkStudy

__all__ = ["prepare_network_study"]

_EXAMPLE = 16  # examples of the pass in which sites are found
#: options that are the training's
_CONFIG = (
    *("learning_rate", "optimizer", "momentum", "schedule", "patience", "clip", "precision", "device"),
    "loader_workers",
)


def prepare_network_study(
    data: object, network: str | Callable[[], nn.Module], options: NetworkOptions
) -> tuple[NetworkStudy, Plan]:
    """Read the examples, try the network on them, find its sites, and make the plan with all settings.

    Raises:
        InputError: the data, the network or an option can't be used.
    """
    examples = load_examples(
        data,
        collate_fn=options.collate_fn,
        groups=options.groups,
        time=options.time,
        task=options.task,
        data_version=options.data_version,
    )
    build = import_object(network, "the network") if isinstance(network, str) else network
    if not callable(build):
        value = f"got {type(build).__name__}"
        raise InputError(sentence("network must be a function without arguments that builds a module", value))
    train = import_object(options.train, "the training function") if isinstance(options.train, str) else options.train
    if train is not None and not callable(train):
        value = f"got {type(train).__name__}"
        raise InputError(sentence("train must be a function train(network, run)", value))
    functions = NetworkFunctions(build, options.loss, options.score, options.sampler, train)
    config = _config(options, examples)
    state = check_network(functions, examples, config)
    with seeded_generators(0, config.torch_device()):  # what is built and read here draws from generators of its own
        example = examples.batch(range(min(config.batch_size, examples.count, _EXAMPLE)), "train").x
        sites = _sites(functions, example, options)
    identities = Identities(
        build=source_digest(build),
        state=state,
        loss=None if options.loss is None else source_digest(options.loss),
        score=None if options.score is None else source_digest(options.score),
        train=None if train is None else source_digest(train),
    )
    train_name = None if train is None else _name(options.train, "train")
    plan = make_network_plan(examples, sites, options, identities, _name(network, "network"), train_name)
    kept = None if sites.inserted is None else example
    application = SettingApplication(sites.sites, sites.inserted, kept)
    return NetworkStudy(functions, application, examples, config), plan


def _name(function: object, default: str) -> str:
    """The path of a function, or one alike where it has none."""
    if isinstance(function, str):
        return function
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', default)}"


def _config(options: NetworkOptions, examples: ExampleSet) -> NetworkConfig:
    epochs, batch_size = budget_of_options(options, examples)
    chosen = {name: getattr(options, name) for name in _CONFIG}
    return NetworkConfig(epochs=epochs, batch_size=batch_size, **chosen)


def _sites(functions: NetworkFunctions, example: Inputs, options: NetworkOptions) -> StudiedSites:
    insert = {True: "hidden", False: None}.get(options.insert) if isinstance(options.insert, bool) else options.insert
    return studied_sites(functions.build(), example, insert)
