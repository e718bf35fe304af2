"""Finds out before a study begins whether a network can be trained on the examples."""

import hashlib

import torch
from torch import nn

from thinned.conversion.api import plain_state_dict
from thinned.errors import InputError, sentence
from thinned.studies.examples.batch import call_network
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.generators import seeded_generators
from thinned.studies.examples.outcomes import example_losses, output_tensor
from thinned.studies.examples.sources import ArraySource
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.evaluation import precision_of
from thinned.studies.training.loop.fit import Prepare, make_network, training_loss
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.optimizer import NetworkOptimizer
from thinned.studies.training.loop.streams import Streams
from thinned.studies.user_code import memory_errors, user_code

__all__ = ["check_network", "state_digest"]


def check_network(
    functions: NetworkFunctions, examples: ExampleSet, config: NetworkConfig, prepare: Prepare = lambda network: network
) -> str:
    """Build a network twice, compare the two, and take one training step and one evaluation.

    Where a function of the user's trains, it alone knows how a step is taken: the networks are compared, no more.

    Args:
        functions: those of the user.
        examples: the examples.
        config: how to train.
        prepare: makes the network of a setting; by default it stays as it is built.

    Returns:
        Hexadecimal digest of the initial state.

    Raises:
        InputError: the network can't be built twice alike, does not run on a batch, its output does not fit the
            targets, its loss is no number, or memory does not suffice.
    """
    streams, device = Streams(0, 0, 0), config.torch_device()
    with seeded_generators(streams.weights, device):
        with memory_errors(), user_code("build must make a network"):
            one, two = (make_network(functions, prepare, examples, streams, device) for _ in range(2))
        _check_alike(one, two)
        digest = state_digest(one)
        del one
        if functions.train is None:
            with memory_errors(), user_code("the network must train on a batch of the examples"):
                _step(functions, two, examples, config)
    return digest


def state_digest(network: nn.Module) -> str:
    """SHA-256 of names and values in the state dict, the clock of masks left out."""
    digest = hashlib.sha256()
    for name, tensor in plain_state_dict(network).items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_alike(one: nn.Module, two: nn.Module) -> None:
    """Refuse a build function whose networks share parameters, or differ under one seed."""
    own = {p.data_ptr() for p in one.parameters()}
    if one is two or any(p.data_ptr() in own for p in two.parameters()):
        remedy = "make every module inside build"
        raise InputError(sentence("build must make a new network at every call", "two share parameters", remedy))
    if not any(p.requires_grad for p in two.parameters()):
        raise InputError(sentence("a network must have parameters to train", "it has none"))
    first, second = plain_state_dict(one), plain_state_dict(two)
    changed = [name for name in first.keys() | second.keys() if _differ(first.get(name), second.get(name))]
    if changed:
        remedy = "draw initial weights from the default generators of torch, NumPy or random"
        value = f"{min(changed)} differs"
        raise InputError(sentence("build must make the same network under the same seed", value, remedy))


def _differ(one: object, two: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.shape != two.shape or not torch.equal(one.nan_to_num(), two.nan_to_num())
    return (one is None) != (two is None)


def _step(functions: NetworkFunctions, network: nn.Module, examples: ExampleSet, config: NetworkConfig) -> None:
    """One step of training, and one evaluation."""
    device = config.torch_device()
    rows = _telling(examples, config.batch_size)
    batch = examples.batch(rows, "train").to(device)
    network.train()
    with precision_of(device, config.precision):
        output = call_network(network, batch.x)
    if functions.loss is None or functions.score is None:
        _check_labels(examples, output)
    with precision_of(device, config.precision):
        loss = training_loss(functions, examples.task, output, batch.y)
    _check_finite(loss, "the loss of a batch")
    if not loss.requires_grad:
        remedy = "compute it from the network's output with torch alone, without detach() or item()"
        raise InputError(sentence("the loss must depend on the network's parameters", "it has no gradient", remedy))
    loss.backward()  # type: ignore[no-untyped-call]
    NetworkOptimizer(network, config, 1).step(0)
    network.eval()
    batch = examples.batch(rows).to(device)
    with torch.no_grad(), precision_of(device, config.precision):
        output = call_network(network, batch.x)
    _check_finite(example_losses(examples.task, output, batch.y, functions.score), "the score of an example")


def _telling(examples: ExampleSet, batch_size: int) -> list[int]:
    """The first examples, and those of the least and the greatest label, for which a network may lack an output."""
    rows = list(range(min(batch_size, examples.count)))
    if isinstance(examples.eval, ArraySource) and examples.task == "tokens":
        y = examples.eval.y.reshape(examples.count, -1)
        rows += [int(y.amin(1).argmin()), int(y.amax(1).argmax())]
    return rows


def _check_finite(loss: torch.Tensor, name: str) -> None:
    if not bool(loss.isfinite().all()):
        remedy = "look for extreme values in the inputs, or lower the learning rate"
        raise InputError(sentence(f"{name} must be a finite number", f"got {loss.flatten()[0].item():g}", remedy))


def _check_labels(examples: ExampleSet, output: object) -> None:
    """Refuse a network of fewer outputs than the labels need, which a device would report as an assertion."""
    if examples.task != "multiclass":
        return
    outputs, most = output_tensor(output).shape[-1], int(float(examples.classes[-1]))
    if outputs <= most:
        value = f"it has {outputs}, and labels go up to {most}"
        raise InputError(sentence("the network must have an output for each class", value, "number labels from 0"))
