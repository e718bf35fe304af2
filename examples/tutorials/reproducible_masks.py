"""
Masks that repeat: resume, checkpointing, processes
===================================================

torch draws masks from a generator, so that a mask depends on everything that was drawn before it. Here a mask is an
*address*, a key and a number, and its bits are a function of both. ``thinned.address`` gives one to every dropout of a
model.
"""

import subprocess
import sys

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned.conversion import plain_state_dict


def build() -> nn.Module:
    """Return a network with the same initial weights each time, and addressed masks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 2))
    thinned.address(model, seed=7)
    return model


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Take a step for each number, on the batch of that number."""
    for step in steps:
        batch = torch.Generator().manual_seed(step)
        x, y = torch.randn(32, 20, generator=batch), torch.randint(2, (32,), generator=batch)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


# %%
# Resume
# ------
#
# Ten steps at once. Then five, a checkpoint as everybody writes it, and five more in a fresh model. The clock that
# numbers the masks is a buffer of the model and travels in its state dict; nobody saves a generator.

whole = build()
train(whole, torch.optim.Adam(whole.parameters()), range(10))

first = build()
optimizer = torch.optim.Adam(first.parameters())
train(first, optimizer, range(5))
saved = {"model": first.state_dict(), "optimizer": optimizer.state_dict()}

torch.rand(1000)  # whatever else draws from torch's generator does not matter
resumed = build()
optimizer = torch.optim.Adam(resumed.parameters())
resumed.load_state_dict(saved["model"])
optimizer.load_state_dict(saved["optimizer"])
train(resumed, optimizer, range(5, 10))

print("clock:", int(resumed.thinned_clock))
print("weights equal, bit for bit:", torch.equal(whole[0].weight, resumed[0].weight))

# %%
# A model without addresses, in a service that does without ``thinned``, has no place for the clock.
# ``plain_state_dict`` leaves it out; in a checkpoint that is already written it is the entry ``thinned_clock``.

plain = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 2))
print(plain.load_state_dict(plain_state_dict(resumed)))
print("left out:", saved["model"].keys() - plain.state_dict().keys())

# %%
# Activation checkpointing
# ------------------------
#
# Checkpointing computes a block again in the backward pass, which must drop the same units. torch puts its generator
# back for that. An addressed block is at its address again, and its forward pass is not counted twice.


class Checkpointed(nn.Module):
    """A network whose hidden part is computed again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.5))
        self.out = nn.Linear(64, 2)
        self.recompute = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, ``(N, 2)``."""
        if self.recompute:
            return self.out(checkpoint(self.hidden, x, use_reentrant=False))
        return self.out(self.hidden(x))


gradients = []
for recompute in (False, True):
    model = Checkpointed()
    model.recompute = recompute
    thinned.address(model, seed=7)
    model(torch.ones(32, 20)).logsumexp(1).sum().backward()
    gradients.append(model.hidden[0].weight.grad)
    print("forward passes counted:", int(model.thinned_clock))
print("gradients equal:", torch.equal(*gradients))

# %%
# Processes
# ---------
#
# Two processes that share a batch should drop what one process would that has all of it. ``parts`` tells each which
# part it has.

x = torch.randn(8, 20)
together = build()(x)
halves = []
for rank in range(2):
    model = build()
    thinned.address(model, seed=7, parts={0: (rank, 2)})
    halves.append(model(x.chunk(2)[rank]))
print("largest difference:", (torch.cat(halves) - together).abs().max().item())

# %%
# And a process that shares nothing with this one, but for the address:

code = "import thinned; print(thinned.masks.keep_mask((16,), p=0.5, key=7, call=3).int().tolist())"
elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
here = thinned.masks.keep_mask((16,), p=0.5, key=7, call=3).int().tolist()
print(here)
print("there:", elsewhere.strip() == str(here))

# %%
# Why this works, and what it costs: :doc:`/explanation/mask-address`.
