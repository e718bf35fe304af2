"""The options of ``thinned study`` that a network of one's own has and a table has not."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Literal, TypedDict, get_args, get_type_hints

import typer

from thinned_cli.option_sections import NETWORKS
from thinned_cli.options import Numbers, Places, parse_places, parse_rates

__all__ = ["NetworkChoices", "expand_options"]


def _option(help_text: str, metavar: str | None = None, parser: Callable[[str], object] | None = None) -> object:
    return typer.Option(metavar=metavar, parser=parser, help=help_text, rich_help_panel=NETWORKS)


class NetworkChoices(TypedDict):
    """Options of :class:`~thinned.studies.design.own_network.options.NetworkOptions`, by their names; None is left out.

    ``--insert hidden`` stands for ``insert="hidden"``, ``--insert layers=conv2,fc1`` for ``insert=("conv2", "fc1")``.
    """

    loss: Annotated[
        str | None,
        _option(
            "A function of outputs and targets of a batch that gives the loss to train.  [default: the task's]",
            "MODULE:NAME",
        ),
    ]
    score: Annotated[
        str | None,
        _option(
            "A function of the same that gives a number for each example, lower is better; it decides.  "
            "[default: the task's loss]",
            "MODULE:NAME",
        ),
    ]
    sampler: Annotated[
        str | None,
        _option("A function of the training targets that gives the positions to train on in an epoch.", "MODULE:NAME"),
    ]
    train: Annotated[
        str | None,
        _option("A function train(network, run) of yours that trains each network, as with Lightning.", "MODULE:NAME"),
    ]
    collate_fn: Annotated[
        str | None,
        typer.Option(
            "--collate",
            metavar="MODULE:NAME",
            help="Makes a batch (x, y) of a list of items, as the collate_fn of a DataLoader.",
            rich_help_panel=NETWORKS,
        ),
    ]
    groups: Annotated[
        str | None,
        _option(
            "The group of each example, such as its speaker; those of a group stay together. An array, or a function "
            "that returns it; a pair of two where --data holds a test set.",
            "MODULE:NAME",
        ),
    ]
    design: Annotated[
        Literal["confirm", "nested"] | None,
        _option(
            "Choose settings on one half and confirm them on the other, or try all settings on every split.  "
            "[default: confirm]"
        ),
    ]
    insert: Annotated[
        Places | None,
        _option(
            "Put dropout into the network: hidden, input, last_hidden, every_weight_layer, or names of layers, as "
            "layers=conv2,fc1.",
            "WHERE",
            parse_places,
        ),
    ]
    learning_rates: Annotated[
        Numbers | None,
        _option(
            "Try every setting at each of these, since dropout changes the best one.  [default: --learning-rate]",
            "X,X,...",
            parse_rates,
        ),
    ]
    optimizer: Annotated[Literal["adamw", "sgd"] | None, _option("Optimizer.  [default: adamw]")]
    momentum: Annotated[float | None, _option("Momentum of sgd.  [default: 0.9]", "X")]
    schedule: Annotated[
        Literal["constant", "cosine"] | None,
        _option("The learning rate over the epochs; cosine ends at 0.  [default: constant]"),
    ]
    patience: Annotated[
        int | None,
        _option("Stop after so many epochs without a lower validation loss.  [default: train all epochs]", "N"),
    ]
    clip: Annotated[float | None, _option("Largest norm of all gradients together.  [default: no limit]", "X")]
    precision: Annotated[
        Literal["float32", "bfloat16"] | None,
        _option("bfloat16 trains in mixed precision.  [default: float32]"),
    ]
    device: Annotated[str | None, _option("cpu, cuda, mps or another.  [default: an accelerator if any]", "NAME")]
    loader_workers: Annotated[
        int | None, _option("Processes that read a dataset which is not held in memory.  [default: 0]", "N")
    ]
    data_version: Annotated[
        str | None, _option("A name that you change when the data change, of which 64 items are looked at.", "NAME")
    ]


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give typer the entries of the ``TypedDict`` that a command takes as ``**choices``, one option each."""
    signature = inspect.signature(command)
    *named, choices = signature.parameters.values()
    entries = get_type_hints(get_args(choices.annotation)[0], include_extras=True)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in entries.items()
    ]

    @functools.wraps(command)
    def expanded(**values: object) -> None:
        command(**values)

    expanded.__signature__ = signature.replace(parameters=[*named, *options])  # type: ignore[attr-defined]
    return expanded
