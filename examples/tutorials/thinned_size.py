"""
Training at the thinned size
============================

Dropout computes every unit and then throws half of them away. With one mask for a whole mini-batch, dropped units can
be left out of the products: between two layers of p = 0.5 a quarter of the work is left. The mask is known before the
layer runs, because it is an address.
"""

import time

import torch
from torch import nn

import thinned

torch.set_num_threads(1)
torch.manual_seed(0)


def layers() -> list[nn.Module]:
    """Return the layers of a network with one mask a mini-batch."""
    return [
        nn.Linear(256, 1024),
        nn.ReLU(),
        thinned.BatchDropout(0.5),
        nn.Linear(1024, 1024),
        nn.ReLU(),
        thinned.BatchDropout(0.5),
        nn.Linear(1024, 10),
    ]


# %%
# ``ThinnedMLP`` takes the layers of an ``nn.Sequential``: the same parameters, the same state dict, the same masks at
# the same addresses. It only computes less.

masked = nn.Sequential(*layers())
thin = thinned.ThinnedMLP(*layers())
thin.load_state_dict(masked.state_dict())
x, y = torch.randn(512, 256), torch.randint(10, (512,))
for model in (masked, thin):
    thinned.address(model, seed=7)
outputs = [model(x) for model in (masked, thin)]
print("largest output:    ", outputs[0].abs().max().item())
print("largest difference:", (outputs[0] - outputs[1]).abs().max().item())

# %%
# What a step costs, forward and backward, in processor time: the median of nine. It is a measurement of the machine
# that built this page.


def step(model: nn.Module) -> float:
    """Return the seconds of one core that a step takes."""
    model.zero_grad()
    start = time.process_time()
    nn.functional.cross_entropy(model(x), y).backward()
    return time.process_time() - start


plain = nn.Sequential(*(layer for layer in layers() if not isinstance(layer, thinned.BatchDropout)))
seconds = {
    name: sorted(step(model) for _ in range(9))[4]
    for name, model in (("no dropout", plain), ("masked", masked), ("thinned", thin))
}
for name, value in seconds.items():
    print(f"{name:10} {1000 * value:6.1f} ms, {value / seconds['no dropout']:.2f} of no dropout")

# %%
# The gradient is the same as well: rows and columns of dropped units get exact zeros.

for model in (masked, thin):
    thinned.address(model, seed=7)
    model.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
print("gradients differ by", (masked[3].weight.grad - thin[3].weight.grad).abs().max().item())
print("weights without gradient:", f"{(thin[3].weight.grad == 0).float().mean():.3f}")

# %%
# Residual branches
# -----------------
#
# A branch that stochastic depth drops for a sample need not run for it. ``StochasticDepth`` gathers the samples that
# are kept, and is otherwise ``x + drop_path(branch(x))``.

seen: list[int] = []
branch = nn.Sequential(nn.LayerNorm(256), nn.Linear(256, 256), nn.GELU())
branch.register_forward_pre_hook(lambda module, arguments: seen.append(len(arguments[0])))
block = thinned.StochasticDepth(branch, p=0.4)
block(x)
print("the branch ran on", seen[0], "of", len(x), "samples")

# %%
# One mask for a mini-batch is another regulariser than one for each sample, a harder one: choose its rate anew. Where
# leaving work out pays and where not, GPUs included: :doc:`/skipped-work`.
