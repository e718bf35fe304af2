"""The types of what a model says of rows."""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Outputs", "Uncertainty"]

Array: TypeAlias = npt.NDArray[np.float64]


class Uncertainty(NamedTuple):
    """How sure a prediction is, ``(rows,)`` each; see :meth:`thinned.studies.model.model.Model.uncertainty`."""

    total: Array
    aleatoric: Array
    epistemic: Array


class Outputs(NamedTuple):
    """All that a model says of rows.

    Attributes:
        predicted: as :meth:`thinned.studies.model.model.Model.predict` gives them.
        uncertainty: as :meth:`thinned.studies.model.model.Model.uncertainty`.
        interval: as :meth:`thinned.studies.model.model.Model.interval`; None for classification.
    """

    predicted: Array
    uncertainty: Uncertainty
    interval: Array | None
