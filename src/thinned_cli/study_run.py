"""What ``thinned study`` and ``thinned demo`` do: check what belongs together, run the study, and print its result."""

import shlex
import sys
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict, cast

from rich.console import Console

from thinned import datasets
from thinned.errors import InputError, sentence
from thinned.studies import study
from thinned.studies.design.options import OptionKeywords
from thinned.studies.design.own_network.options import NetworkKeywords
from thinned.studies.network_shards import train_network_shard
from thinned.studies.report.terminal import print_study
from thinned.studies.shards import train_shard
from thinned_cli.console import input_errors, print_line
from thinned_cli.study_progress import study_progress

__all__ = ["Part", "Source", "Workers", "run_demo", "run_study"]


class Workers(TypedDict):
    """Options that say where networks are trained; see :func:`thinned.study`."""

    jobs: int | None
    engine: Literal["loky", "ray", "dask"] | None
    address: str | None


class Part(NamedTuple):
    """The share of a study that is trained, of which stage, and the folder of the pilot; all None for the whole."""

    shard: str | None = None
    stage: Literal["pilot", "confirm"] | None = None
    pilot: Path | None = None


class Source(NamedTuple):
    """Where the examples of a study come from: a table and a column of it, or an import path of examples."""

    file: Path | None
    target: str | None
    data: str | None


def run_study(source: Source, out: Path, options: dict[str, object], workers: Workers, part: Part) -> None:
    """Run a study of a table or of examples, or one share of it, and print what it found."""
    if source.data is None:
        _study_table(source, out, cast("OptionKeywords", options), workers, part)
    else:
        _study_network(source, out, options, workers, part)


def run_demo(out: Path, epochs: int | None, workers: Workers) -> None:
    """Run a study of the bundled churn table, and print what it found."""
    print_line("Does dropout help a network that predicts which of 5,000 customers leave?")
    _train_table(datasets.churn(), "churn", out, {"epochs": epochs}, workers)


def _study_table(source: Source, out: Path, options: OptionKeywords, workers: Workers, part: Part) -> None:
    with input_errors():
        if source.file is None:
            value = "got no FILE and no --data"
            remedy = "pass FILE and --target, or --data and --network"
            raise InputError(sentence("a study needs a table, or examples of any kind", value, remedy))
        if source.target is None:
            raise InputError(sentence("a study of a table needs --target", "got none", "name the column to predict"))
        if part.stage is not None or part.pilot is not None:
            raise InputError(sentence("--stage and --pilot must come with --data", "got a table", "leave them out"))
    _train_table(source.file, source.target, out, options, workers, part.shard)


def _train_table(
    table: object, target: str, out: Path, options: OptionKeywords, workers: Workers, shard: str | None = None
) -> None:
    with study_progress(out, "reading the table") as progress:
        if shard is not None:
            count = train_shard(table, target, shard, out=out, progress=progress, **workers, **options)
        else:
            finished = study(table, target, out=out, progress=progress, command=_command(), **workers, **options)
    if shard is not None:
        _print_shard(shard, out, count)
    else:
        print_study(finished.results, finished.folder / "report.html", Console())


def _study_network(source: Source, out: Path, options: dict[str, object], workers: Workers, part: Part) -> None:
    with input_errors():
        _check_examples(source, options, part)
    network = str(options["network"])
    others = cast("NetworkKeywords", {name: value for name, value in options.items() if name != "network"})
    if part.shard is not None:
        _train_network_shard(source.data, network, out, others, workers, part)
        return
    with study_progress(out, "reading the examples") as progress:
        finished = study(
            source.data, network=network, out=out, progress=progress, command=_command(), **workers, **others
        )
    print_study(finished.results, finished.folder / "report.html", Console())


def _train_network_shard(
    data: object, network: str, out: Path, options: NetworkKeywords, workers: Workers, part: Part
) -> None:
    with study_progress(out, "reading the examples") as progress:
        count = train_network_shard(
            data,
            network,
            str(part.shard),
            out=out,
            stage=part.stage,
            pilot=part.pilot,
            progress=progress,
            **workers,
            **options,
        )
    _print_shard(str(part.shard), out, count)


def _print_shard(shard: str, out: Path, count: int) -> None:
    print_line(f"Shard {shard}: {out} holds {count} finished networks. `thinned merge` puts shards together.")


def _check_examples(source: Source, options: dict[str, object], part: Part) -> None:
    """Refuse what has no meaning for examples.

    Raises:
        InputError: a table or a column is named as well, no network is, or a stage without a shard.
    """
    if source.file is not None:
        raise InputError(sentence("a study has a table or --data", f"got {source.file} and --data", "leave one out"))
    for name, value in (("target", source.target), ("group", options.get("group"))):
        if value is not None:
            remedy = "leave it out" if name == "target" else "pass --groups MODULE:NAME"
            raise InputError(sentence(f"--{name} must name a column of a table", "got --data", remedy))
    if "network" not in options:
        remedy = "pass --network MODULE:FUNCTION, which returns it"
        raise InputError(sentence("a study of --data needs a network", "got none", remedy))
    for name, value in (("stage", part.stage), ("pilot", part.pilot)):
        if value is not None and part.shard is None:
            remedy = "leave it out: without shards both stages are trained"
            raise InputError(sentence(f"--{name} must come with --shard", f"got {value}", remedy))


def _command() -> str:
    return shlex.join(["thinned", *sys.argv[1:]])
