"""Makes the plan of a study of a network of one's own from its examples, its sites and the user's options."""

from thinned.errors import InputError, sentence
from thinned.studies.design.budget import default_batch_size, default_epochs
from thinned.studies.design.own_network.network_arms import duplicate_arms, network_arms, network_questions
from thinned.studies.design.own_network.network_design import Identities, NetworkDesign
from thinned.studies.design.own_network.options import NetworkOptions
from thinned.studies.design.own_network.studied_sites import StudiedSites
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import VALIDATION
from thinned.studies.examples.examples import ExampleSet

__all__ = ["GIVEN_TEST_SEEDS", "budget_of_options", "make_network_plan"]

#: networks of each setting where a test set is given: the interval needs at least five
GIVEN_TEST_SEEDS = 10
_FEWEST_SEEDS = 2  # that an interval over seeds can be made of
_REPEATS = 2  # of the test folds
_TRAINING = ("optimizer", "momentum", "schedule", "patience", "clip", "precision")


def budget_of_options(options: NetworkOptions, examples: ExampleSet) -> tuple[int, int]:
    """Epochs and batch size: those of the options, or by the number of training examples.

    A training function of the user's has epochs of its own: one call is all that is known of them.
    """
    outside = 1.0 if examples.test_count else 1 - 1 / options.folds
    training = max(1, int(examples.count * outside * (1 - VALIDATION)))
    batch_size = min(options.batch_size or default_batch_size(training), training)
    epochs = options.epochs or default_epochs(training)
    return epochs if options.train is None else 1, batch_size


def make_network_plan(
    examples: ExampleSet,
    sites: StudiedSites,
    options: NetworkOptions,
    identities: Identities,
    network: str,
    train: str | None = None,
) -> Plan:
    """Make the plan of a study in one stage, which has every setting.

    :func:`pilot_plan` and :func:`confirm_plan` make the two stages of it.

    Args:
        examples: what the networks are trained on.
        sites: the dropout sites of the network.
        options: the user's choice.
        identities: digests of the callables.
        network: name of the function that builds the network.
        train: name of the user's training function, if there is one.

    Raises:
        InputError: a value can't be used.
    """
    arms = network_arms(sites.sites, options.arms, options.rates, options.learning_rates)
    epochs, batch_size = budget_of_options(options, examples)
    seeds = options.seeds or (GIVEN_TEST_SEEDS if examples.test_count else _REPEATS)
    if examples.test_count and seeds < _FEWEST_SEEDS:
        requirement = f"a given test set needs at least {_FEWEST_SEEDS} seeds"
        raise InputError(sentence(requirement, f"got {seeds}", f"take {GIVEN_TEST_SEEDS}, the default"))
    return Plan(
        arms=arms,
        folds=1 if examples.test_count else options.folds,
        seeds=seeds,
        hidden=(),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        task=examples.task,
        data=examples.sha256,
        rows=examples.count,
        network=network,
        network_source=identities.build,
        group="groups" if examples.groups is not None else None,
        time="time" if examples.times is not None else None,
        own=NetworkDesign(
            stage="nested",
            test_examples=examples.test_count,
            sites=sites.sites,
            noise=sites.noise,
            inserted=sites.inserted,
            training=(("train", train),) if train else tuple((name, getattr(options, name)) for name in _TRAINING),
            identities=identities,
            questions=network_questions(arms, trains_itself=train is None),
            duplicates=duplicate_arms(sites.sites, options.arms, options.rates),
            division_seed=options.seed,
        ),
    )
