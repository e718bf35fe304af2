"""
A convolutional network of your own
===================================

A study takes any ``nn.Module`` and any examples. It finds the dropout of the network by one recorded pass, and makes
its arms from what it finds.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import thinned

x, y = load_digits(return_X_y=True)
images = torch.tensor(x / 16, dtype=torch.float32).view(-1, 1, 8, 8)
digits = torch.tensor(y)
print(tuple(images.shape), int(digits.max()) + 1, "classes")

# %%
# ``build`` returns a fresh network whose weights come from torch's default generator. This one has dropout on its
# feature maps and on its hidden layer.


def build() -> nn.Module:
    """Return a convolutional network of 8 × 8 pixels and ten classes."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(128, 32),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(32, 10),
    )


for site in thinned.sites.find(build(), images[:4]):
    print(site.name, site.p, site.shape)

# %%
# The arms: the rates as they are, the same with whole channels dropped, and none. Every third image and the numbers of
# epochs and folds keep this page short; without these options the study chooses its own budget.

study = thinned.study(
    (images[::3], digits[::3]),
    network=build,
    arms=["as_is", "spatial"],
    epochs=20,
    learning_rate=0.01,
    batch_size=64,
    folds=2,
    seeds=1,
    jobs=1,
    progress=False,
)
print(study.verdict)

# %%
# ``improvement`` is what a setting takes off the loss of the same network without dropout, on the same folds, from the
# same initial weights, with the same order of batches.

study.table[["train_loss", "test_loss", "accuracy", "improvement"]].round(4)

# %%
# A warning says what the study could not see, with the step that would show it.

for warning in study.results.warnings:
    print("-", warning.message)

# %%
# The recommended network, trained on all examples, is read back with the function that builds it. Nothing in the file
# is executed.

network = thinned.load_network(study.folder / "network", build)
with torch.no_grad():
    unseen = network(images[1::3]).argmax(1) == digits[1::3]
print(f"{unseen.float().mean():.1%} of the images that the study has not had are right")

# %%
# More: :doc:`/networks` has datasets, augmentation, given test sets and training loops of your own; what such studies
# showed stands in :doc:`/evidence/README`.
