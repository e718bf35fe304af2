"""``ThinnedClassifier().fit`` against scikit-learn's ``MLPClassifier(early_stopping=True)`` on the bundled churn data.

    python benchmarks/fit.py [--repeats 3]

Both with their defaults and their encoding: ours trains an ensemble of members, scikit-learn's is one network behind
standardised numbers and one-hot levels. Printed are the seconds of a fit and of the processor, medians of the repeats,
and the ratio of the former.
"""

import argparse
import statistics
import time
import warnings

from sklearn.base import ClassifierMixin
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from thinned import datasets
from thinned.estimators import ThinnedClassifier


def usual() -> ClassifierMixin:
    numbers = StandardScaler(), make_column_selector(dtype_include="number")
    levels = OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")
    encoder = make_column_transformer(numbers, levels, sparse_threshold=0)
    return make_pipeline(encoder, MLPClassifier(early_stopping=True, random_state=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    frame = datasets.churn()
    rows, target = frame.drop(columns="churn"), frame["churn"]
    taken: dict[str, list[tuple[float, float]]] = {}
    for _ in range(args.repeats):
        for name, model in {"scikit-learn": usual(), "thinned": ThinnedClassifier(random_state=0)}.items():
            wall, processor = time.perf_counter(), time.process_time()
            model.fit(rows, target)
            taken.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - processor))
    median = {name: [statistics.median(times) for times in zip(*each, strict=True)] for name, each in taken.items()}
    for name, (wall, processor) in median.items():
        ratio = wall / median["scikit-learn"][0]
        print(f"{name:>14}: {wall:6.2f} s, {processor:6.2f} s of the processor, {ratio:5.2f} x scikit-learn's time")


if __name__ == "__main__":
    main()
