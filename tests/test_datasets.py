"""The bundled table is the one it says it is, and costs nothing until it is asked for."""

import hashlib
import subprocess
import sys
from importlib import resources

import pandas as pd

from thinned import datasets


def test_churn_is_as_documented():
    frame = datasets.churn()
    assert frame.shape == (5000, 20)
    assert frame.columns[-1] == "churn"
    assert frame["churn"].value_counts().to_dict() == {"no": 4293, "yes": 707}
    assert not frame.isna().any(axis=None)
    text = [name for name in frame.columns[:-1] if not pd.api.types.is_numeric_dtype(frame[name])]
    assert text == ["state", "area_code", "international_plan", "voice_mail_plan"]


def test_churn_is_a_new_frame_each_time():
    frame = datasets.churn()
    frame.loc[0, "state"] = "changed"
    assert datasets.churn().loc[0, "state"] == "KS"


def test_the_file_in_the_package_is_pinned():
    data = resources.files("thinned").joinpath("data/churn.csv.gz").read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256
    assert data[4:8] == bytes(4)  # no time stamp: the same bytes whenever it is packed


def test_importing_datasets_does_not_import_pandas():
    code = "import sys, thinned; thinned.datasets; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SHA256 = "17aa3b0f7e957763b5ac781939874eb1bab7535ffadd37682e8318faac79247f"
