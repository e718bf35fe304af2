"""Decomposition of uncertainty: against divergences by hand, and by properties."""

import math

import numpy as np
import pytest
import torch

from thinned import uncertainty
from thinned.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(500, 4, generator=GENERATOR)


def test_entropies():
    p = torch.rand(7, 5, 3, generator=GENERATOR, dtype=torch.float64).softmax(-1)
    total, aleatoric, epistemic = uncertainty.split_entropy(p)
    for row in range(5):
        mean = p[:, row].mean(0).numpy()
        assert float(total[row]) == pytest.approx(-(mean * np.log(mean)).sum(), abs=1e-12)
        # mutual information as the mean divergence of members from their mean
        members = p[:, row].numpy()
        divergence = (members * np.log(members / mean)).sum(1).mean()
        assert float(epistemic[row]) == pytest.approx(divergence, abs=1e-12)
    torch.testing.assert_close(total, aleatoric + epistemic)
    for binary in (p[..., 0], p[..., :1]):
        expected = uncertainty.split_entropy(torch.stack([1 - p[..., 0], p[..., 0]], -1))
        torch.testing.assert_close(uncertainty.split_entropy(binary).total, expected.total)
    certain = uncertainty.split_entropy(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    assert (certain.aleatoric.item(), certain.epistemic.item()) == (0, pytest.approx(math.log(2)))
    with pytest.raises(InputError, match="members and rows"):
        uncertainty.split_entropy(p[0, 0])


def test_variances():
    values, noise = torch.randn(9, 5, generator=GENERATOR), torch.rand(9, 5, generator=GENERATOR)
    total, aleatoric, epistemic = uncertainty.split_variance(values, noise)
    torch.testing.assert_close(aleatoric, noise.mean(0))
    torch.testing.assert_close(epistemic, values.var(0))
    torch.testing.assert_close(total, aleatoric + epistemic)
    assert uncertainty.split_variance(values).aleatoric.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_information_is_never_negative(dtype):
    p = torch.randn(1, 500, 3, generator=GENERATOR).softmax(-1).to(dtype).expand(7, -1, -1)
    split = uncertainty.split_entropy(p)
    assert split.epistemic.min() >= 0
    assert split.epistemic.sqrt().isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_that_half_precision_rounds_are_probabilities(dtype):
    p = torch.randn(4, 500, 100, generator=GENERATOR).to(dtype).softmax(-1)
    assert (p.double().sum(-1) - 1).abs().max() > 1e-5
    assert uncertainty.split_entropy(p.float()).total.isfinite().all()


def test_a_mean_a_little_above_one_is_a_probability():
    p = torch.tensor([[1 + 2**-22, 0.3], [1.0, 0.3]])
    split = uncertainty.split_entropy(p)
    assert split.total[0] == 0
    torch.testing.assert_close(split.total, uncertainty.split_entropy(p.clamp(max=1)).total)


def test_a_split_is_short_in_print():
    split = uncertainty.split_entropy(torch.rand(5, 1000).clamp(0.1, 0.9))
    assert repr(split) == "Split(total=float32[1000], aleatoric=float32[1000], epistemic=float32[1000])"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uncertainty.split_entropy(torch.stack([LOGITS, LOGITS])), r"must lie in \[0, 1\].*softmax"),
        (lambda: uncertainty.split_entropy(torch.full((2, 3, 5), 0.9)), "must sum to 1; got sums from 4.5 to 4.5"),
        (lambda: uncertainty.split_entropy(torch.rand(2, 3, 4, 5).softmax(1)), "move the axis of classes to the end"),
        (lambda: uncertainty.split_variance(LOGITS[:1]), "at least two members"),
        (lambda: uncertainty.split_variance(LOGITS, -1.0), "noise must be a variance, at least 0; got -1"),
    ],
)
def test_bad_arguments_are_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
