"""What is told of a study while it runs, and to whom."""

from thinned.studies.callbacks.callback import StudyCallback, open_callbacks
from thinned.studies.callbacks.mlflow import mlflow_callback

__all__ = ["StudyCallback", "mlflow_callback", "open_callbacks"]
