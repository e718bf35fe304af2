"""Losses of examples are torch's own, example by example; scores are those of tables."""

import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F

from thinned.errors import InputError
from thinned.studies.examples.outcomes import count_right_tokens, example_losses, scores

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


class WithLogits(NamedTuple):
    logits: torch.Tensor


def test_classes() -> None:
    losses = example_losses("multiclass", LOGITS, LABELS)
    torch.testing.assert_close(losses.mean(), F.cross_entropy(LOGITS, LABELS))
    assert torch.equal(losses, example_losses("multiclass", WithLogits(LOGITS), LABELS))
    assert torch.equal(losses, example_losses("multiclass", {"logits": LOGITS}, LABELS))


def test_two_classes_in_all_forms_of_output() -> None:
    y = LABELS.clamp_max(1)
    wanted = F.binary_cross_entropy_with_logits(LOGITS[:, 0], y.float(), reduction="none")
    assert torch.equal(example_losses("binary", LOGITS[:, 0], y), wanted)
    assert torch.equal(example_losses("binary", LOGITS[:, :1], y.float()), wanted)
    two = torch.stack([torch.zeros(6), LOGITS[:, 0]], dim=1)
    torch.testing.assert_close(example_losses("binary", two, y), wanted)
    torch.testing.assert_close(example_losses("binary", two, y), F.cross_entropy(two, y, reduction="none"))


def test_numbers_and_labels() -> None:
    assert example_losses("regression", LOGITS[:, :1], LOGITS[:, 1]).tolist() == pytest.approx(
        ((LOGITS[:, 0] - LOGITS[:, 1]) ** 2).tolist()
    )
    torch.testing.assert_close(example_losses("other", LOGITS, LOGITS + 2), torch.full((6,), 4.0))
    y = (LOGITS > 0).long()
    wanted = F.binary_cross_entropy_with_logits(LOGITS, y.float(), reduction="none").mean(1)
    torch.testing.assert_close(example_losses("multilabel", LOGITS, y), wanted)


def test_tokens_are_averaged_without_padding() -> None:
    logits, y = torch.randn(2, 4, 5), torch.tensor([[0, 1, 2, 3], [4, 0, -100, -100]])
    losses = example_losses("tokens", logits, y)
    torch.testing.assert_close(losses[0], F.cross_entropy(logits[0], y[0]))
    torch.testing.assert_close(losses[1], F.cross_entropy(logits[1, :2], y[1, :2]))
    torch.testing.assert_close(example_losses("tokens", logits.movedim(-1, 1), y), losses)
    assert example_losses("tokens", logits, torch.full((2, 4), -100)).tolist() == [0, 0]
    images = torch.randn(2, 5, 3, 4)
    target = torch.randint(5, (2, 3, 4))
    torch.testing.assert_close(example_losses("tokens", images, target).mean(), F.cross_entropy(images, target))


def test_a_score_of_ones_own() -> None:
    own = lambda output, y: (output.argmax(1) != y).float()  # noqa: E731
    assert example_losses("multiclass", LOGITS, LABELS, own).tolist() == (LOGITS.argmax(1) != LABELS).float().tolist()
    with pytest.raises(InputError, match=r"one number for each of 6 examples; got \(\)"):
        example_losses("multiclass", LOGITS, LABELS, F.cross_entropy)


def test_scores_are_those_of_the_task() -> None:
    losses = example_losses("multiclass", LOGITS, LABELS)
    found = scores("multiclass", LOGITS, LABELS, losses)
    assert found["loss"] == pytest.approx(found["log_loss"])
    assert found["accuracy"] == pytest.approx(float((LOGITS.argmax(1) == LABELS).double().mean()))
    y = LABELS.clamp_max(1)
    one, two = (
        scores("binary", z, y, losses) for z in (LOGITS[:, :1], torch.stack([0 * LOGITS[:, 0], LOGITS[:, 0]], dim=1))
    )
    assert one == pytest.approx(two)
    assert scores("regression", LOGITS[:, 0], LOGITS[:, 1], losses)["mae"] == pytest.approx(
        float((LOGITS[:, 0] - LOGITS[:, 1]).abs().mean())
    )
    assert scores("tokens", None, LABELS, losses) == {"loss": pytest.approx(float(losses.mean()))}


def test_a_score_without_all_classes_is_not_a_number() -> None:
    found = scores("multiclass", LOGITS, LABELS.clamp_max(1), example_losses("multiclass", LOGITS, LABELS))
    assert math.isnan(found["roc_auc"])
    assert math.isfinite(found["log_loss"])


@pytest.mark.parametrize(
    ("task", "output", "y"),
    [
        ("multiclass", LOGITS[:, 0], LABELS),
        ("multiclass", LOGITS[:5], LABELS),
        ("binary", LOGITS, LABELS),
        ("regression", LOGITS, LABELS.float()),
        ("multilabel", LOGITS[:, :2], LOGITS),
        ("tokens", LOGITS, LABELS[:, None]),
        ("tokens", torch.zeros(2, 4, 4), torch.zeros(2, 4, dtype=torch.int64)),
        ("other", LOGITS, LABELS[:, None].expand(6, 3)),
        ("multiclass", "text", LABELS),
    ],
)
def test_an_output_that_does_not_fit_is_refused(task: str, output: object, y: torch.Tensor) -> None:
    with pytest.raises(InputError) as raised:
        example_losses(task, output, y)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_right_tokens_are_counted_without_padding() -> None:
    y = torch.tensor([[0, 1, -100], [2, 2, 2]])
    logits = torch.nn.functional.one_hot(torch.tensor([[0, 0, 0], [2, 2, 1]]), 4).float()
    assert count_right_tokens(logits, y).sum(0).tolist() == [3, 5]
    assert count_right_tokens(logits.transpose(1, 2), y).sum(0).tolist() == [3, 5]
