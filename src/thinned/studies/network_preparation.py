"""Prepares a study of a network of one's own: examples are read, the network is tried, the plan is made."""

import dataclasses
from collections.abc import Callable

from torch import nn

from thinned.errors import InputError, sentence
from thinned.import_path import import_object, source_digest, working_directory
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
from thinned.studies.user_code import user_code

__all__ = ["prepare_network_study"]

_EXAMPLE = 16  # examples of the pass in which sites are found
_FUNCTIONS = {"loss": "the loss", "score": "the score", "sampler": "the sampler", "collate_fn": "the collate function"}
_FUNCTIONS["train"] = "the training function"
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
    train_path = options.train
    options = _imported(options)
    examples = load_examples(
        data,
        collate_fn=options.collate_fn,  # type: ignore[arg-type]
        groups=options.groups,
        time=options.time,
        task=options.task,
        data_version=options.data_version,
        has_loss=options.loss is not None or options.train is not None,
    )
    build = import_object(network, "the network") if isinstance(network, str) else network
    if not callable(build):
        value = f"got {type(build).__name__}"
        raise InputError(sentence("network must be a function without arguments that builds a module", value))
    train = options.train
    functions = NetworkFunctions(build, options.loss, options.score, options.sampler, train)  # type: ignore[arg-type]
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
        sampler=None if options.sampler is None else source_digest(options.sampler),
        train=None if train is None else source_digest(train),
        collate=None if options.collate_fn is None else source_digest(options.collate_fn),
    )
    train_name = None if train is None else _name(train_path, "train")
    plan = make_network_plan(examples, sites, options, identities, _name(network, "network"), train_name)
    kept = None if sites.inserted is None else example
    application = SettingApplication(sites.sites, sites.inserted, kept)
    return NetworkStudy(functions, application, examples, config), plan


def _name(function: object, default: str) -> str:
    """The path of a function, or one alike where it has none."""
    if isinstance(function, str):
        return function
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', default)}"


def _imported(options: NetworkOptions) -> NetworkOptions:
    """The options with the functions and arrays that import paths name."""
    changes: dict[str, object] = {}
    for name, words in _FUNCTIONS.items():
        value = getattr(options, name)
        value = import_object(value, words) if isinstance(value, str) else value
        if value is not None and not callable(value):
            raise InputError(sentence(f"{name} must be a function", f"got {type(value).__name__}"))
        changes[name] = value
    for name in ("groups", "time"):
        value = getattr(options, name)
        value = import_object(value, name) if isinstance(value, str) else value
        if callable(value) and not hasattr(value, "__array__"):
            with working_directory(), user_code(f"the function of {name} must return them"):
                value = value()
        changes[name] = value
    return dataclasses.replace(options, **changes)  # type: ignore[arg-type]


def _config(options: NetworkOptions, examples: ExampleSet) -> NetworkConfig:
    epochs, batch_size = budget_of_options(options, examples)
    chosen = {name: getattr(options, name) for name in _CONFIG}
    return NetworkConfig(epochs=epochs, batch_size=batch_size, **chosen)


def _sites(functions: NetworkFunctions, example: Inputs, options: NetworkOptions) -> StudiedSites:
    insert = {True: "hidden", False: None}.get(options.insert) if isinstance(options.insert, bool) else options.insert
    return studied_sites(functions.build(), example, insert)
