"""
Dropout in NumPy: five questions, run
=====================================

A network small enough to print: two inputs of a telephone customer, four hidden units, one probability to leave. Its
forward pass, its backward pass through the mask and its training are 100 lines of NumPy in
``thinned.explain.numpy_network``, written to be read. Each question below is answered by running it.
"""

import itertools

import numpy as np
import torch

import thinned
from thinned.explain import numbers
from thinned.explain.numpy_network import EXAMPLE, EXAMPLE_INPUT, backward, forward, keep

x = EXAMPLE_INPUT[None]  # 5 calls to the service, 250 minutes
p = 0.5
full = forward(EXAMPLE, x)
print("hidden activations:", full.hidden[0])
print(f"probability to leave: {full.output[0]:.4f}")

# %%
# 1. What is the expected value of a masked unit?
# -----------------------------------------------
#
# A unit is 0 with probability p, and its activation divided by 1 − p otherwise. The two make (1 − p) · a / (1 − p) = a:
# its activation, for every p. Exactly, over both outcomes, and by a thousand masks, whose mean is off by about its
# standard error.

a = full.hidden[0]
for rate in (0.1, 0.5, 0.8):
    expected = rate * 0 + (1 - rate) * a / (1 - rate)
    masks = np.stack([keep((4,), rate, key=20, call=n) for n in range(1000)])
    mean = (masks * a / (1 - rate)).mean(0)
    error = a * np.sqrt(rate / (1 - rate) / 1000)
    print(f"p = {rate}: exact", expected.round(4), "| 1,000 masks", mean.round(3), "±", error.round(3))

# %%
# 2. What is the gradient through a mask, and which weights get none?
# -------------------------------------------------------------------
#
# The gradient passes the same multiplier as the activation did: 0 where the unit was dropped, 1 / (1 − p) where it was
# kept. All weights into and out of a dropped unit get exactly 0, and only in this step.

mask = np.array([True, False, True, False])
trace = forward(EXAMPLE, x, mask, p)
gradient = backward(EXAMPLE, trace, y=np.array([1.0]))
print("weights in:\n", gradient.hidden_weight.round(4))
print("weights out:", gradient.output_weight.round(4))

# %%
# A finite difference agrees, so that this is no convention of ours:

step = 1e-6
for unit in range(4):
    weights = EXAMPLE.output_weight.copy()
    weights[unit] += step
    moved = forward(type(EXAMPLE)(EXAMPLE.hidden_weight, EXAMPLE.hidden_bias, weights, EXAMPLE.output_bias), x, mask, p)
    slope = (np.logaddexp(0, -moved.logit) - np.logaddexp(0, -trace.logit))[0] / step
    print(f"unit {unit + 1}: {slope:+.4f}")

# %%
# 3. When does the full network equal the mean of the ensemble exactly?
# ---------------------------------------------------------------------
#
# Evaluation runs the whole network once. Four units make sixteen sub-networks, few enough to run all of them.

masks = np.array(list(itertools.product([False, True], repeat=4)))
outputs = np.array([forward(EXAMPLE, x, mask, p) for mask in masks], dtype=object)
logits = np.array([one.logit[0] for one in outputs])
probabilities = np.array([one.output[0] for one in outputs])
odds = np.exp(np.log(probabilities).mean() - np.log1p(-probabilities).mean())
print(f"logit:       mean of sixteen {logits.mean():.6f}, full network {full.logit[0]:.6f}")
print(f"probability: mean of sixteen {probabilities.mean():.6f}, full network {full.output[0]:.6f}")
print(f"geometric mean of sixteen, normalised {odds / (1 + odds):.6f}")

# %%
# It does where everything behind the dropped units is linear: for the logit, not for the probability. With a logistic
# output the full network is the *geometric* mean, exactly. With another nonlinear layer behind, it is neither.
# ``thinned.ensemble.enumerate`` does the same for networks of any kind.

every = thinned.ensemble.enumerate(numbers.torch_network(), torch.from_numpy(x), output="logits")
print(f"{every.count} sub-networks: mean {every.mean.item():.6f}, geometric mean {every.geometric_mean.item():.6f}")

# %%
# 4. What does dropout on the output do?
# --------------------------------------
#
# It drops the prediction itself. A "probability" becomes 0 or twice what it was, and may exceed 1; the loss of a
# customer who left and is dropped is infinite. Of 1,000 steps on five customers:

on_output = numbers.on_output(p)
print("probabilities:", on_output.output.round(3))
print("one step:     ", on_output.dropped[0].round(3))
print(numbers.outcomes(on_output.losses))

# %%
# 5. What does dropout before batch norm do?
# ------------------------------------------
#
# Batch norm divides by the standard deviation that it saw. Dropout makes that larger in training, so that in
# evaluation, where nothing is dropped, its output is too narrow.

shift = numbers.batch_norm(p)
print("variance with dropout / without:", (shift.trained_variance / shift.variance).round(2))
print("spread of the output in training:  ", shift.training.round(2))
print("in evaluation:                     ", shift.evaluation.round(2))
print("after thinned.recalibrate_batchnorm:", shift.recalibrated.round(2))

# %%
# The audit finds questions 4 and 5 in any model, as TD201 and TD202 (:doc:`/audit`). More claims about dropout, run on
# this network: :doc:`/claims`. ``thinned explain`` writes a page on which each hidden unit is a switch.
