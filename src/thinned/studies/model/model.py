"""The model that a study leaves: networks of the recommended arm, fitted on all rows, and saved without pickle."""

import copy
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import joblib
import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from thinned import philox
from thinned.errors import InputError, sentence
from thinned.layers import Dropout
from thinned.studies import metrics
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import refit_parts
from thinned.studies.model import storage
from thinned.studies.model.cv_plus import cv_plus, thin_out
from thinned.studies.model.metadata import ModelMetadata
from thinned.studies.model.onnx import Average, write_onnx
from thinned.studies.model.outputs import Outputs, Uncertainty
from thinned.studies.model.unlike_study import UnlikeStudyWarning, warn_unlike
from thinned.studies.table.encoding import EncodedRows, Encoder
from thinned.studies.table.load import Table, read_frame
from thinned.studies.table.notices import Notice
from thinned.studies.table.readings import ColumnReading
from thinned.studies.training import cohort, native_cohort
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.encoded_splits import standardised
from thinned.studies.training.network import site_rates
from thinned.uncertainty import split_entropy, split_variance

__all__ = ["Model", "Outputs", "Uncertainty", "UnlikeStudyWarning", "fit"]

Array = npt.NDArray[np.float64]

_MEMBERS = 5
_MASKS, _COVERAGE = 20, 0.9
_ROWS = 4096  # predicted at once
_CELLS = 2_000_000  # ends of intervals that are compared at once
_CHECKED = 64  # rows by which an exported network is checked


class Model:
    """An ensemble of networks and the encoding of their input; see :func:`fit`.

    What it computes for a row depends on that row alone, whatever others it is given with, but for the rounding of
    float64 matrix products.
    """

    def __init__(self, metadata: ModelMetadata, encoder: Encoder, weights: dict[str, torch.Tensor]) -> None:
        self.metadata = metadata
        self._encoder = encoder
        self._weights = weights
        networks = [storage.make_network(metadata) for _ in range(metadata.members)]
        stack = cohort.Stack(
            networks, [site_rates(networks[0], metadata.setting)] * metadata.members, 0, range(metadata.members)
        )
        with torch.no_grad():
            for name, value in stack.learned.items():
                value.copy_(weights[name])
        self._base = stack.base.double().eval().requires_grad_(False)

    def __repr__(self) -> str:
        """Say what it predicts, and with what."""
        about = self.metadata
        kind = "value" if about.task == "regression" else f"{len(about.classes)} classes"
        return f"Model({about.target!r}, {kind}, {about.members} networks, {about.setting.label})"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of their probabilities; ``()`` for regression."""
        return self.metadata.classes

    @property
    def readings(self) -> Mapping[str, ColumnReading]:
        """How each input column is read, in every table."""
        return self._encoder.readings

    @property
    def columns(self) -> list[str]:
        """What each column of :meth:`encode` holds."""
        return self._encoder.names

    def encode(self, features: object) -> npt.NDArray[np.float32]:
        """Rows as the networks take them, ``(rows, len(columns))`` float32; what an exported network is given.

        Cells that can't be read as the study read the column count as missing. Where there are some, new levels or
        empty columns, one :class:`UnlikeStudyWarning` says so.

        Args:
            features: data frame (pandas or polars) with the columns that the study saw, others are ignored; or a file.

        Raises:
            InputError: a column is missing, or holds infinite numbers or other things than scalars.
        """
        rows = self.read(features)
        warn_unlike(rows.notices)
        return rows.matrix

    def read(self, features: object) -> EncodedRows:
        """Rows as :meth:`encode` gives them, with what :meth:`unlike` says of them instead of a warning."""
        return self._encoder.encode(read_frame(features))

    def unlike(self, features: object) -> list[Notice]:
        """Say what in new rows is unlike the study's table, by column.

        Unlike are cells that can't be read, new levels, values far outside the range, empty columns, and missing cells
        in a column that had none.

        Args:
            features: as for :meth:`encode`.

        Raises:
            InputError: as :meth:`encode`.
        """
        return self._encoder.unlike(read_frame(features))

    def predict(self, features: object) -> Array:
        """The members' mean prediction, with dropout off.

        Args:
            features: as for :meth:`encode`.

        Returns:
            Probabilities ``(rows, classes)``, or values ``(rows,)`` in target units.

        Raises:
            InputError: as :meth:`encode`.
        """
        return self._predict(self.encode(features))

    def uncertainty(self, features: object, masks: int = _MASKS) -> Uncertainty:
        """How much of a prediction's uncertainty is noise, and how much is that the networks don't agree.

        The networks are the members, each thinned by ``masks`` addressed masks where training ends with dropout (Gal &
        Ghahramani 2016): a mask is the same for every row, today and on another machine. The mean probability or value
        over them is not quite that of :meth:`predict`, whose networks are whole.

        - Classification: entropies in nats. Total is that of the mean probability over all networks, aleatoric the mean
          of theirs, epistemic the difference: the mutual information of class and network.
        - Regression: standard deviations in target units. Epistemic is that over the networks. Aleatoric is the root
          mean squared held-out residual, the same for every row; since that holds the members' own error too, it
          is an upper estimate. Total squared is the sum of their squares.

        Args:
            features: as for :meth:`encode`.
            masks: sub-networks of each member, where there is dropout.

        Raises:
            InputError: there is one network only, or as :meth:`encode`.
        """
        self._check_masks(masks)
        return self._uncertainty(self.encode(features), masks)

    def interval(self, features: object, coverage: float = _COVERAGE) -> Array:
        """Prediction intervals of a regression by CV+, from the rows that each member has not seen.

        New rows like those of training lie in them with a probability of about ``coverage``, and of at least
        2 · ``coverage`` − 1 whatever the network and the noise are (:mod:`thinned.studies.model.cv_plus`); each
        member's held-out rows have stopped its training, which that theorem does not allow for.

        Args:
            features: as for :meth:`encode`.
            coverage: between 0 and 1.

        Returns:
            ``(rows, 2)``, low and high in target units; infinite where there were too few rows for the coverage.

        Raises:
            InputError: the model is a classifier, or as :meth:`encode`.
        """
        if self.metadata.task != "regression":
            raise InputError(sentence("intervals are for regression", f"the task is {self.metadata.task}"))
        if not 0 < coverage < 1:
            raise InputError(sentence("coverage must lie between 0 and 1", f"got {coverage}"))
        return self._interval(self.encode(features), coverage)

    def outputs(self, matrix: npt.NDArray[np.float32]) -> Outputs:
        """All predictions for rows that are encoded once: those of :meth:`predict` and so on, by their defaults.

        Args:
            matrix: what :meth:`encode` gives.

        Raises:
            InputError: there is one network only, without masks.
        """
        self._check_masks(_MASKS)
        interval = self._interval(matrix, _COVERAGE) if self.metadata.task == "regression" else None
        return Outputs(self._predict(matrix), self._uncertainty(matrix, _MASKS), interval)

    def export_onnx(self, path: str | os.PathLike[str]) -> float:
        """Write the averaged network, all members in one graph, as an ONNX file (``pip install 'thinned[onnx]'``).

        Its input ``rows`` is float32 ``(number, len(columns))``, as :meth:`encode` gives them: the encoding of the
        table's columns is not part of the file. Its output, float32, is named ``probability`` ``(number, classes)`` or
        ``value`` ``(number,)``. The file's metadata name the columns, the classes and the target.

        Returns:
            The largest absolute difference between onnxruntime's output and this model's, by which the file was
            checked before it was written.

        Raises:
            ImportError: the extra is not installed.
            InputError: ``path`` exists or can't be written.
            RuntimeError: onnxruntime computes something else.
        """
        index = np.arange(_CHECKED * self.metadata.inputs).reshape(_CHECKED, -1)
        rows = philox.normals(index, 0)
        metadata = self.metadata
        described = {
            "columns": self.columns,
            "classes": metadata.classes,
            "target": metadata.target,
            "task": metadata.task,
        }
        return write_onnx(
            path,
            Average(copy.deepcopy(self._base).float(), metadata),
            rows,
            self._run(self._base, torch.from_numpy(rows).double()).mean(axis=0),
            output="value" if metadata.task == "regression" else "probability",
            metadata={name: json.dumps(value) for name, value in described.items()},
        )

    def _predict(self, matrix: npt.NDArray[np.float32]) -> Array:
        return np.concatenate([self._run(self._base, rows).mean(axis=0) for rows in _chunks(matrix)])

    def _check_masks(self, masks: int) -> None:
        if type(masks) is not int or masks < 1:
            raise InputError(sentence("masks must be a whole number of at least 1", f"got {masks!r}"))
        if self.metadata.members == 1 and (masks == 1 or not self._samples):
            seen, remedy = "the model is one without masks", "fit several members"
            raise InputError(sentence("uncertainty needs networks to compare", seen, remedy))

    def _uncertainty(self, matrix: npt.NDArray[np.float32], masks: int) -> Uncertainty:
        parts = [
            self._split(np.concatenate([self._run(base, rows) for base in self._thinned(masks)]))
            for rows in _chunks(matrix)
        ]
        return Uncertainty(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _interval(self, matrix: npt.NDArray[np.float32], coverage: float) -> Array:
        residuals = self._weights[storage.RESIDUALS].numpy()
        size = max(1, _CELLS // residuals.size)
        parts = [
            cv_plus(self._run(self._base, part), residuals, self.metadata.held_out, coverage)
            for rows in _chunks(matrix)
            for part in torch.split(rows, size)
        ]
        return np.concatenate(parts)

    @property
    def _samples(self) -> bool:
        """Whether there is dropout where training ends."""
        return self.metadata.setting.dropout > 0 and self.metadata.setting.schedule != "early"

    def _thinned(self, masks: int) -> Iterator[nn.Module]:
        """The members with dropout on, a mask of all rows after the other; as they are where training ends without."""
        if not self._samples:
            yield self._base
            return
        base = copy.deepcopy(self._base)  # so that threads can share the model
        sites = [site for site in base.modules() if isinstance(site, Dropout) and site.key is not None]
        for number in range(masks):
            for site in sites:
                site.train()
                site.shared, site.call = (0,), torch.tensor(number)
            yield base

    def _run(self, base: nn.Module, rows: torch.Tensor) -> Array:
        """Each member's prediction, ``(members, rows, classes)`` or ``(members, rows)``."""
        metadata = self.metadata
        with torch.inference_mode():
            output = base(rows.expand(metadata.members, *rows.shape)).numpy()
        return np.stack([metrics.predictions(metadata.task, o, metadata.center, metadata.spread) for o in output])

    def _split(self, predicted: Array) -> Uncertainty:
        """``(networks, rows, classes)`` or ``(networks, rows)`` to the parts of the uncertainty."""
        networks = torch.from_numpy(predicted)
        if self.metadata.task != "regression":
            return Uncertainty(*(part.numpy() for part in split_entropy(networks)))
        return Uncertainty(*(part.sqrt().numpy() for part in split_variance(networks, self.metadata.noise**2)))

    def save(self, folder: Path) -> None:
        """Write the model's three files, whole or not at all; a model that stood there is replaced."""
        storage.save(storage.SavedModel(self.metadata, self._encoder, self._weights), folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Model":
        """Read a saved model. Nothing in it is executed; every file must be the one that was saved.

        Raises:
            InputError: there is no model, or it is damaged.
        """
        return cls(*storage.load(folder))


def _chunks(matrix: npt.NDArray[np.float32]) -> Iterator[torch.Tensor]:
    for part in torch.split(torch.from_numpy(matrix), _ROWS):
        yield part.double()


def fit(
    table: Table,
    config: TrainingConfig,
    setting: Setting,
    progress: Callable[[int], None] = lambda epoch: None,
    *,
    members: int = _MEMBERS,
    jobs: int | None = 1,
) -> Model:
    """Fit one of the settings on all rows.

    Five networks, each with a different fifth of the rows for early stopping, so that every row trains four of them;
    their predictions are averaged. Where a class or the groups are too few for that, there are fewer. More members hold
    out smaller parts. By time all hold out the latest fifth.

    ``jobs`` is joblib's: members whose parts differ in size are trained in as many processes. No number depends on it.
    """
    encoder = Encoder(setting.embedding, table.readings)
    x = torch.from_numpy(encoder.fit_transform(table.features))
    y, center, spread = standardised(table, np.arange(len(table.target)))
    rows = refit_parts(table, config.seed, max(members, _MEMBERS))[:members]
    parts = [tuple(map(torch.from_numpy, part)) for part in rows]
    data = [cohort.Data(x, y, train, held, held) for train, held in parts]
    metadata = ModelMetadata(
        task=table.task,
        target=table.target_name,
        classes=table.classes,
        inputs=x.shape[1],
        hidden=tuple(config.hidden),
        members=len(data),
        setting=setting,
        center=center,
        spread=spread,
        held_out=tuple(len(d.test) for d in data),
        noise=0.0,
    )
    number = config.settings.index(setting)
    batches = []
    # groups differ in size: members of other shapes make another batched program
    for _, same in itertools.groupby(enumerate(data), key=lambda numbered: numbered[1].shape):
        folds, own = zip(*same, strict=True)
        members_of_batch = [Member(config.repeats, fold, number) for fold in folds]  # a repeat no study has used
        batches.append((config, metadata, members_of_batch, own))
    if len(batches) > 1 and joblib.effective_n_jobs(jobs) > 1:
        fitted = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_fit_batch)(*batch) for batch in batches)
    else:
        fitted = [_fit_batch(*batch, progress) for batch in batches]
    outcomes: list[cohort.Outcome] = list(itertools.chain.from_iterable(fitted))
    weights = {name: torch.stack([o.weights[name] for o in outcomes]) for name in outcomes[0].weights}
    if table.task == "regression":
        residuals = [
            (d.y[d.test] - o.at_best[:, 0]).double().numpy() * spread for d, o in zip(data, outcomes, strict=True)
        ]
        weights[storage.RESIDUALS] = torch.from_numpy(thin_out(residuals))
        metadata = msgspec.structs.replace(metadata, noise=float(np.sqrt(np.mean(np.concatenate(residuals) ** 2))))
    return Model(metadata, encoder, weights)


def _fit_batch(
    config: TrainingConfig,
    metadata: ModelMetadata,
    members: Sequence[Member],
    data: Sequence[cohort.Data],
    progress: Callable[[int], None] = lambda epoch: None,
) -> list[cohort.Outcome]:
    """Train members of one shape, on as many cores as torch has threads where the extension trains."""
    return native_cohort.train(
        config, lambda _: storage.make_network(metadata), members, data, progress, training_curve=False
    )
