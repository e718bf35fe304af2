"""The questions that a study asks: comparisons of arms, declared before the run."""

from collections.abc import Sequence
from typing import NamedTuple

from thinned.studies.design.arm import Arm
from thinned.studies.design.arms import DEFINITIONS
from thinned.studies.results import Reading

__all__ = ["Question", "complete", "declare"]


class Question(NamedTuple):
    """A declared comparison of two arms.

    Attributes:
        arm: name of the arm that is asked about.
        when: weights of the arm that are scored: of its best epoch, or at the end.
        against: name of the arm that it is compared with.
        against_when: weights of that arm that are scored.
        text: the question in words.
        primary: the one question of a study that has most of the error rate.
    """

    arm: str
    when: Reading
    against: str
    against_when: Reading
    text: str
    primary: bool = False


def declare(arms: Sequence[Arm]) -> tuple[Question, ...]:
    """Declare the questions about the arms of tables; the first about a regulariser is primary.

    A user's arm, and one whose counterpart is not in the study, is compared with "none".
    """
    names = {arm.name for arm in arms}
    defined = sorted(
        (question.order, definition.arm.name, question)
        for definition in DEFINITIONS
        for question in definition.questions
        if {definition.arm.name, question.against} <= names
    )
    return complete(arms, [Question(arm, q.when, q.against, q.against_when, q.text) for _, arm, q in defined])


def complete(arms: Sequence[Arm], declared: Sequence[Question]) -> tuple[Question, ...]:
    """Ask about every other arm whether it helps, and make the first question about a regulariser primary."""
    questions = list(declared)
    asked = {question.arm for question in questions}
    questions += [
        Question(arm.name, "best", "none", "best", f"Does {arm.label} help, when both stop early?")
        for arm in arms
        if arm.name not in asked
    ]
    primary = next(question for question in questions if question.arm != "none")
    return tuple(question._replace(primary=question is primary) for question in questions)
