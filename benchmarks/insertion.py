"""Put dropout into real feed-forward and convolutional networks, with random weights, and check everything.

    pip install timm segmentation-models-pytorch torchvision transformers
    python benchmarks/insertion.py [--only resnet]

For each network: sites placed and layers without one; whether evaluation is bitwise what it was, with the sites and
after their removal; whether removal leaves classes, attributes, hooks, parameters and buffers bitwise as they were;
whether two training steps are finite and random; findings of ``thinned.audit`` on what was placed, and findings that
the network did not have before; processor seconds of the insertion over those of one training step.
"""

import argparse
import copy
import hashlib
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import torch
from insertion_models import Network, networks
from torch import nn

import thinned
from thinned.tracing.tensor_map import output_tensors


class Result(NamedTuple):
    """What one network showed."""

    sites: dict[str, int]
    unplaced: int
    evaluation: bool
    removal: bool
    training: bool
    on_sites: int
    new: int
    cost: float

    @property
    def passed(self) -> bool:
        return self.evaluation and self.removal and self.training and not self.on_sites and not self.new


def digest(model: nn.Module) -> str:
    """Digest of everything that removal must bring back."""
    value = hashlib.blake2b()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        value.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}{id(tensor)}".encode())
        value.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for name, module in model.named_modules():
        tables = [(key, list(table)) for key, table in vars(module).items() if isinstance(table, dict)]
        value.update(f"{name}{id(type(module))}{module.training}{sorted(vars(module))}{tables}".encode())
    return value.hexdigest()


def outputs(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in output_tensors(model(x))]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def step(model: nn.Module, x: torch.Tensor) -> float:
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    losses = [(tensor - 1).square().mean() for tensor in output_tensors(model(x)) if tensor.requires_grad]
    loss = torch.stack(losses).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def key(finding: thinned.Finding) -> tuple[str, str, int | None]:
    return finding.code, finding.module, finding.line


def random_in_training(model: nn.Module, x: torch.Tensor) -> bool:
    with torch.no_grad():
        return not same(outputs(model, x), outputs(model, x))


def examine(network: Network) -> Result:
    torch.manual_seed(0)
    model = network.build()
    x = network.example()
    findings = {key(finding) for finding in thinned.audit(model, x)}
    model.eval()
    with torch.no_grad():
        expected = outputs(model, x)
    before, keys = digest(model), list(model.state_dict())

    started = time.process_time()
    report = thinned.insert_dropout(model, x, p=0.2)
    insertion = time.process_time() - started
    with torch.no_grad():
        evaluation = same(outputs(model, x), expected) and list(model.state_dict()) == keys
    trained = copy.deepcopy(model).train()
    thinned.remove_dropout(model)
    with torch.no_grad():
        evaluation = evaluation and same(outputs(model, x), expected)
    removal = digest(model) == before

    started = time.process_time()
    losses = [step(trained, x)]
    seconds = time.process_time() - started
    losses.append(step(trained, x))
    training = all(torch.tensor(losses).isfinite()) and random_in_training(trained, x)
    audited = thinned.audit(trained, x)
    sites = {site.name for site in report.placed}
    return Result(
        sites=dict(Counter(site.dropout for site in report.placed)),
        unplaced=len(report.unplaced),
        evaluation=evaluation,
        removal=removal,
        training=training,
        on_sites=sum(finding.module in sites for finding in audited),
        new=sum(key(finding) not in findings for finding in audited),
        cost=insertion / seconds,
    )


def rows(only: str) -> Iterator[tuple[Network, Result | str]]:
    for network in networks():
        if only in f"{network.library} {network.name}":
            try:
                yield network, examine(network)
            except Exception as error:  # noqa: BLE001 - the table says so
                yield network, f"{type(error).__name__}: {error}".splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the name of a library or network")
    warnings.simplefilter("ignore")  # of other libraries
    passed = total = 0
    print("| library | network | sites | layers without | evaluation | removal | training | findings | cost |")
    print("|---|---|---|---|---|---|---|---|---|")
    for network, result in rows(parser.parse_args().only):
        total += 1
        if isinstance(result, str):
            print(f"| {network.library} | {network.name} | ERROR {result} |", flush=True)
            continue
        passed += result.passed
        sites = ", ".join(f"{count} {name}" for name, count in sorted(result.sites.items()))
        words = ["same" if result.evaluation else "OTHER", "same" if result.removal else "OTHER"]
        words += ["finite" if result.training else "NOT FINITE OR NOT RANDOM", f"{result.on_sites} + {result.new} new"]
        line = [network.library, network.name, sites, str(result.unplaced), *words, f"{result.cost:.1f}"]
        print(f"| {' | '.join(line)} |", flush=True)
    print(f"\n{passed} of {total} networks pass")


if __name__ == "__main__":
    main()
