"""The bundled table."""

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["churn"]


def churn() -> "pd.DataFrame":
    """Customers of a telephone company, and whether they left.

    The table has 5,000 rows and 20 columns: 19 attributes, and the target ``churn``: "yes" for the 707 who left and
    "no" for the 4,293 who stayed. Four attributes are text (``state``, ``area_code``, ``international_plan``,
    ``voice_mail_plan``). The others are numbers: age of the account, voice mails, minutes, calls and charges by day,
    evening, night and abroad, and calls to customer service. No value is missing. A charge is its minutes times a
    tariff, so that four columns repeat four others.

    Returns:
        A new frame at each call, (5000, 20), with the columns' dtypes as pandas reads them from CSV.

    Raises:
        ImportError: pandas is missing; ``pip install 'thinned[study]'`` brings it.
    """
    import pandas as pd  # noqa: PLC0415 - a study's dependency, not the layers'

    with resources.files("thinned").joinpath("data/churn.csv.gz").open("rb") as file:
        frame = pd.read_csv(file, compression="gzip")
    frame.attrs["name"] = "bundled churn table"
    return frame
