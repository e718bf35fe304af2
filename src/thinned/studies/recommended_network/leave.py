"""Trains the network that a study recommends on all examples, and saves it."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import nn

from thinned.conversion.insertion.input_dropout import layers_with_input_dropout
from thinned.errors import InputError, sentence
from thinned.studies import results
from thinned.studies.cores import one_core
from thinned.studies.design.own_network.pilot import given_test_splits
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import Split
from thinned.studies.design.streams import stream_key
from thinned.studies.examples.batch import call_network
from thinned.studies.examples.generators import seeded_generators
from thinned.studies.examples.outcomes import example_losses
from thinned.studies.recommended_network.code_lines import code_lines, is_importable
from thinned.studies.recommended_network.failure import DivergedError, forget_failure, keep_failure, kept_failure
from thinned.studies.recommended_network.metadata import InsertedClass, NetworkMetadata, rates_of
from thinned.studies.recommended_network.storage import save_network, saved_metadata
from thinned.studies.training.drive import Progress, logged
from thinned.studies.training.engines.environment import versions
from thinned.studies.training.loop.checkpoint import Checkpoint
from thinned.studies.training.loop.evaluation import precision_of
from thinned.studies.training.loop.fit import fit
from thinned.studies.training.network_run import NetworkStudy
from thinned.studies.training.own_training.fields import needed_fields
from thinned.studies.training.own_training.train import OwnTraining, fit_by_function
from thinned.studies.training.store import CHECKPOINTS, writing
from thinned.studies.user_code import memory_errors, user_code
from thinned.tracing.modules import INPUT_DROPOUT

__all__ = ["NETWORK", "leave_network", "train_recommended"]

#: folder within a study's of the network that it leaves
NETWORK = "network"


def leave_network(
    study: NetworkStudy,
    plan: Plan,
    content: results.Results,
    folder: Path,
    progress: Callable[[Progress, Plan], None],
    before: Callable[[], object],
) -> results.NetworkSummary:
    """Train the recommended network on all examples, and save it; a study that has it already keeps it.

    Whatever goes wrong is a sentence in the summary: the study's results do not depend on it. A network that diverged
    is not trained again under the same plan and versions; whatever else went wrong is tried again.

    Args:
        study: what networks are trained from.
        plan: the plan whose settings were compared.
        content: the study's results.
        folder: the study's.
        progress: called during training.
        before: called before it is trained, not where it is there.
    """
    wanted = _describe(study, plan, content)
    target = folder / NETWORK
    about = saved_metadata(target)
    if about is None or not _is_wanted(about, wanted):
        kept = kept_failure(folder, wanted)
        if kept is not None:
            return _summary(wanted, failure=kept)
        before()
        try:
            with logged(folder), memory_errors(), user_code("the network must train on all examples"):
                network = train_recommended(study, plan, wanted, folder, partial(_report, progress, plan, wanted))
                about = msgspec.structs.replace(wanted, inserted=_inserted(network, plan))
                with seeded_generators(0), writing():
                    save_network(network, study.functions.build, about, target)
        except InputError as error:
            failure = f"The recommended network ({wanted.label}) could not be trained and saved: {error}"
            if isinstance(error, DivergedError):
                keep_failure(folder, wanted, failure)
            return _summary(wanted, failure=failure)
        about = saved_metadata(target) or about
    forget_failure(folder)
    return _summary(about, lines=code_lines(about, f"Path({str(target)!r})"))


def train_recommended(
    study: NetworkStudy, plan: Plan, about: NetworkMetadata, folder: Path, report: Callable[[int], None]
) -> nn.Module:
    """Train a network of the recommended setting on all examples, from a seed that no other network has.

    No example validates it: it is trained for the median of the best epochs of its setting, at the learning rates that
    those networks had in these epochs. Where a function of the user's trains, a fifth validates, by which that function
    may stop. Examples of a given test set stay out.

    Returns:
        The network on its device, in evaluation mode.

    Raises:
        DivergedError: it diverged.
        Exception: whatever the user's code raises.
    """
    examples = dataclasses.replace(study.examples, test=None, test_count=0)
    with one_core():
        fit_network = _fit if study.functions.train is None else _fit_by_function
        network = fit_network(study._replace(examples=examples), plan, about, folder / CHECKPOINTS, report)
        losses = _some_losses(network, study, about)
    if not all(bool(p.isfinite().all()) for p in (*network.parameters(), losses)):
        remedy = "lower the learning rate, in a new folder"
        raise DivergedError(sentence("its weights and losses must stay finite", "they did not", remedy))
    return network


def _fit(
    study: NetworkStudy, plan: Plan, about: NetworkMetadata, folder: Path, report: Callable[[int], None]
) -> nn.Module:
    none = np.empty(0, dtype=np.int64)
    identity = f"{plan.digest} {about.label} {about.epochs} {about.seed}"
    return fit(
        study.functions,
        partial(study.application, setting=about.setting),
        study.examples,
        Split(0, 0, np.arange(study.examples.count), none, none),
        study.config.with_setting(about.setting),
        about.seed,
        report,
        Checkpoint(folder / "recommended.safetensors", identity),
        about.epochs,
    ).network


def _fit_by_function(
    study: NetworkStudy, plan: Plan, about: NetworkMetadata, folder: Path, report: Callable[[int], None]
) -> nn.Module:
    split = _deal(study, plan, about.seed)
    training = OwnTraining(
        study.functions,
        study.application,
        study.examples,
        split._replace(test=split.validation),  # as in the pilot: a function that scores finds examples there
        study.config,
        about.setting,
        needed_fields(plan.settings, study.config),
        about.seed,
    )
    return fit_by_function(training, folder / f"recommended-{plan.digest}", partial(report, 0))


def _deal(study: NetworkStudy, plan: Plan, seed: int) -> Split:
    """Training and validation examples of the network that a function of the user's trains."""
    return given_test_splits(dataclasses.replace(plan, seeds=1, seed=seed), study.examples)[0]


def _some_losses(network: nn.Module, study: NetworkStudy, about: NetworkMetadata) -> torch.Tensor:
    """Losses of a batch; none where perhaps only a function of the user's can score."""
    if study.functions.train is not None:
        return torch.empty(0)
    config = study.config
    device = config.torch_device()
    with seeded_generators(about.seed, device), torch.no_grad(), precision_of(device, config.precision):
        batch = study.examples.batch(range(min(config.batch_size, study.examples.count))).to(device)
        return example_losses(study.examples.task, call_network(network, batch.x), batch.y, study.functions.score)


def _describe(study: NetworkStudy, plan: Plan, content: results.Results) -> NetworkMetadata:
    chosen, own = content.verdict.recommended, plan.network_design
    setting = plan.settings[chosen.setting]
    best_epoch = next(entry.best_epoch for entry in content.settings if entry.index == chosen.setting)
    network = plan.network or ""
    seed = stream_key(plan.seed, "recommended") % 2**31
    count = study.examples.count if own.trains_itself else len(_deal(study, plan, seed).train)
    return NetworkMetadata(
        network=network,
        importable=is_importable(network, study.functions.build),
        arm=chosen.arm,
        label=setting.label,
        setting=setting,
        rates=rates_of(setting, own.sites),
        sites=own.sites,
        inserted={},
        train=None if own.trains_itself else str(dict(own.training)["train"]),
        epochs=max(1, math.floor(best_epoch + 0.5)) if own.trains_itself else None,
        budget=plan.epochs,
        batch_size=study.config.batch_size,
        learning_rate=study.config.with_setting(setting).learning_rate,
        training=dict(own.training),
        seed=seed,
        task=plan.task,
        classes=study.examples.classes,
        examples=count,
        data=plan.data,
        identities=own.identities,
        plan=plan.digest,
        versions=versions(),
    )


def _inserted(network: nn.Module, plan: Plan) -> dict[str, InsertedClass]:
    """The classes of dropout that the study put before layers."""
    if plan.network_design.inserted is None:
        return {}
    found = {name: type(layer.get_submodule(INPUT_DROPOUT)) for name, layer in layers_with_input_dropout(network)}
    return msgspec.convert({name: kind.__name__ for name, kind in found.items()}, dict[str, InsertedClass])


def _is_wanted(about: NetworkMetadata, wanted: NetworkMetadata) -> bool:
    names = ("plan", "arm", "setting", "epochs", "seed", "data")
    return all(getattr(about, name) == getattr(wanted, name) for name in names)


def _report(progress: Callable[[Progress, Plan], None], plan: Plan, about: NetworkMetadata, epoch: int) -> None:
    place = f" (epoch {epoch} of {about.epochs})" if about.epochs is not None else ""
    doing = f"training the recommended network on all examples{place}"
    progress(Progress(doing, plan.networks), plan)


def _summary(about: NetworkMetadata, lines: str | None = None, failure: str | None = None) -> results.NetworkSummary:
    return results.NetworkSummary(
        label=about.label,
        epochs=about.epochs,
        examples=about.examples,
        lines=lines,
        failure=failure,
    )
