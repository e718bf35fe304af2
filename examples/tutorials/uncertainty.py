"""
Uncertainty by sub-networks
===========================

A network with dropout on n units holds 2^n sub-networks that share weights. Where they disagree, the network does not
know. ``thinned.ensemble`` samples them, or enumerates them all, without touching the model.
"""

import torch
from sklearn.datasets import make_moons
from torch import nn

import thinned
from thinned import uncertainty


def rows(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return points of two noisy half-moons, ``(number, 2)``, and the moon of each."""
    x, y = make_moons(number, noise=0.3, random_state=seed)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


torch.manual_seed(0)
x, y = rows(300, 0)
model = nn.Sequential(
    nn.Linear(2, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 2)
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(300):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()

# %%
# Sixty-four sub-networks predict. The entropy of their mean splits into noise, which all of them see, and disagreement.

test_x, test_y = rows(1000, 1)
prediction = thinned.ensemble.predict(model, test_x, members=64, output="logits")
wrong = prediction.mean.argmax(1) != test_y
print(f"accuracy {1 - wrong.float().mean():.3f}")
for name in ("total", "aleatoric", "epistemic"):
    part = getattr(prediction, name)
    print(f"{name:9} where right {part[~wrong].mean():.3f}, where wrong {part[wrong].mean():.3f} nats")

# %%
# It separates right from wrong: the answers of which the ensemble is surest are right more often.

order = prediction.total.argsort()
for share in (0.25, 0.5, 0.75, 1.0):
    kept = order[: int(share * len(order))]
    print(f"surest {share:4.0%}: {1 - wrong[kept].float().mean():.3f} right")

# %%
# Disagreement is what grows where no row has been. At the centre of the data, between the moons, and far away:

places = torch.tensor([[0.0, 1.0], [0.5, 0.25], [-3.0, -6.0]])
at_places = thinned.ensemble.predict(model, places, members=64, output="logits")
for place, total, epistemic in zip(places, at_places.total, at_places.epistemic, strict=True):
    print(f"{place.tolist()}: total {total:.3f}, of which disagreement {epistemic:.3f} nats")

# %%
# Far away the network extrapolates, and may be as sure as it is wrong: its sub-networks share weights. Sub-networks
# measure what dropout perturbs, and are no guard against inputs of another kind. (Networks that were trained apart
# disagree more; a study's model has five.)
#
# Whether probabilities are frequencies is another question, and one number mends most of it: a temperature that is
# fitted on rows which the network has not seen.

valid_x, valid_y = rows(300, 2)
held_out = thinned.ensemble.predict(model, valid_x, members=64, output="logits").mean.log()
temperature = uncertainty.fit_temperature(held_out, valid_y)
calibrated = (prediction.mean.log() / temperature).softmax(-1)
for name, probability in (("as they are", prediction.mean), ("calibrated", calibrated)):
    loss = uncertainty.negative_log_likelihood(probability, test_y)
    error = uncertainty.expected_calibration_error(probability, test_y)
    print(f"{name:11}: loss {loss:.4f} nats, calibration error {error:.3f}")

# %%
# Member 17 is the same sub-network for any batch, on any machine, and can be cut out as a smaller network.

small = thinned.ensemble.subnetwork(model, 17)
member = thinned.ensemble.sample(model, test_x, members=18).outputs[17]
print(
    [layer.out_features for layer in small if isinstance(layer, nn.Linear)], (small(test_x) - member).abs().max().item()
)

# %%
# More, with all 2^n by exact enumeration: :doc:`/ensemble`.
