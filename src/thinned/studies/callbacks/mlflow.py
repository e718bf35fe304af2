"""A callback that logs a study to MLflow."""

import re
from typing import TYPE_CHECKING

from thinned.studies.callbacks.callback import StudyCallback
from thinned.studies.design.plan import Plan
from thinned.studies.results import Results
from thinned.studies.training.drive import Progress

if TYPE_CHECKING:
    from thinned.studies.api import Study

__all__ = ["mlflow_callback"]


def mlflow_callback() -> StudyCallback:
    """A callback for ``thinned.study(..., callbacks=[...])`` that logs the study as one run of MLflow.

    It logs into the active run and leaves it open, or else starts one, in the current experiment, and ends it.
    Logged are: the number of trained networks as a metric while they train; at the end the design as parameters; as
    metrics each arm's mean test score (``test/<arm>``) and its improvement over no regularisation
    (``improvement/<arm>``), and the answer to the main question (``difference``, ``difference_low``,
    ``difference_high``, ``p_adjusted``); the verdict as tags; ``results.json`` and ``report.html`` as artifacts.

    Raises:
        ImportError: neither ``mlflow`` nor ``mlflow-skinny`` is installed.
    """
    import mlflow  # noqa: PLC0415 - only where it is used

    class MlflowCallback(StudyCallback):
        def __init__(self) -> None:
            self._own_run = False  # started here, so ended here
            self._networks = -1

        def on_progress(self, progress: Progress, plan: Plan) -> None:  # noqa: ARG002
            self._start()
            if int(progress.networks) != self._networks:
                self._networks = int(progress.networks)
                mlflow.log_metric("networks", self._networks, step=self._networks)

        def on_end(self, study: "Study") -> None:
            self._start()
            mlflow.log_params(_parameters(study.results))
            mlflow.log_metrics(_metrics(study.results))
            verdict = study.results.verdict
            mlflow.set_tags({"outcome": verdict.outcome, "verdict": verdict.headline})
            mlflow.set_tag("recommended", verdict.recommended.label)
            for name in ("results.json", "report.html"):
                mlflow.log_artifact(str(study.folder / name))
            self._end("FINISHED")

        def on_error(self, error: BaseException) -> None:
            self._end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")

        def _start(self) -> None:
            if mlflow.active_run() is None:
                mlflow.start_run()
                self._own_run = True

        def _end(self, status: str) -> None:
            if self._own_run:
                mlflow.end_run(status)
            self._own_run, self._networks = False, -1

    return MlflowCallback()


def _parameters(results: Results) -> dict[str, object]:
    """The design in numbers and names."""
    plan, data = results.plan, results.data
    about = {"data": data.name, "target": data.target, "task": plan.task, "rows": plan.rows, "network": plan.network}
    design = {name: getattr(plan, name) for name in ("folds", "seeds", "epochs", "batch_size", "learning_rate", "seed")}
    arms = ",".join(arm.name for arm in plan.arms)
    return {**about, **design, "arms": arms, "digest": plan.digest, "score": results.score.label}


def _metrics(results: Results) -> dict[str, float]:
    """Scores and improvements of the arms, and the answer to the main question."""
    metrics = {"seconds": results.run.seconds}
    for arm in results.arms:
        name = re.sub(r"[^\w.\- /]", "_", arm.name)
        score = arm.best.scores[results.selection].mean
        if score is not None:
            metrics[f"test/{name}"] = score
        metrics[f"improvement/{name}"] = arm.best.improvement.mean
    if (answer := results.primary) is not None:
        metrics |= {"difference": answer.difference, "p_adjusted": answer.p_adjusted}
        metrics |= {"difference_low": answer.low, "difference_high": answer.high}
    return metrics
