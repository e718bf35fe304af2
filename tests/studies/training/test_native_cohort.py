"""The extension trains a cohort as torch does, and each member as if it were alone."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from cohort_cases import EVERY_KIND, PLAN, make_data
from torch import nn

from thinned import _native
from thinned.kernels import native
from thinned.studies.design import arms
from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import Technique
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.training import cohort, native_cohort
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.engines.environment import environment
from thinned.studies.training.network import MLP

ARM_SETTINGS = tuple(dict.fromkeys(setting for arm in arms.ARMS.values() for setting in arm.settings))
TASKS = ("binary", "multiclass", "regression")
needs_trainer = pytest.mark.skipif(not native.trains(), reason="this build has no native trainer")
pytestmark = needs_trainer


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Case:
    """A cohort of settings of one structure on two folds, of float64 unless ``dtype`` says so."""

    def __init__(
        self,
        settings: Sequence[Setting],
        task: str = "binary",
        hidden: tuple[int, ...] = (7, 13),
        batch: int = 11,
        epochs: int = 7,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        arm = Arm("all", "all", tuple(settings))
        plan = dataclasses.replace(PLAN, arms=(arm,), task=task, hidden=hidden, batch_size=batch, epochs=epochs)
        self.config, self.dtype = TrainingConfig.of_plan(plan), dtype
        self.members = [Member(0, fold, number) for fold in (0, 1) for number in range(len(settings))]
        folds = [make_data(fold, task) for fold in (0, 1)]
        real = [d._replace(x=d.x.to(dtype), y=d.y.to(dtype) if task == "regression" else d.y) for d in folds]
        self.data: list[cohort.Data] = [real[member.fold] for member in self.members]

    def build(self, setting: Setting) -> nn.Module:
        return MLP(5, self.config.hidden, 3 if self.config.task == "multiclass" else 1, setting).to(self.dtype)

    def by_torch(self) -> list[cohort.Outcome]:
        return cohort.train(self.config, self.build, self.members, self.data)

    def by_extension(self, chosen: slice = slice(None)) -> list[cohort.Outcome]:
        assert native_cohort.torch_reason(self.cohort()) is None
        return native_cohort.train(self.config, self.build, self.members[chosen], self.data[chosen])

    def cohort(self) -> cohort.Cohort:
        return cohort.Cohort.of(self.config, self.build, self.members, self.data)


def assert_same(ours: Sequence[cohort.Outcome], oracle: Sequence[cohort.Outcome]) -> None:
    """To 1e-8 after a whole training: float64 rounds some 1e-16 a step, which small second moments magnify."""
    for one, other in zip(ours, oracle, strict=True):
        assert one.best_epoch == other.best_epoch
        np.testing.assert_allclose(one.train_loss, other.train_loss, rtol=2e-7)  # float32
        np.testing.assert_allclose(one.validation_loss, other.validation_loss, rtol=2e-7)
        torch.testing.assert_close(one.at_end, other.at_end, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(one.at_best, other.at_best, rtol=1e-8, atol=1e-8)
        assert one.weights.keys() == other.weights.keys()
        for name, value in one.weights.items():
            torch.testing.assert_close(value, other.weights[name], rtol=1e-8, atol=1e-8)


def by_structure(settings: Sequence[Setting]) -> list[list[Setting]]:
    ordered = sorted(settings, key=lambda setting: str(setting.structure))
    return [list(same) for _, same in itertools.groupby(ordered, key=lambda setting: setting.structure)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("settings", by_structure(ARM_SETTINGS), ids=lambda same: str(same[0].structure))
def test_every_arm_trains_as_torch_does(task: str, settings: list[Setting]) -> None:
    """All settings of a structure in one cohort, in float64, of odd widths."""
    case = Case(settings, task)
    assert_same(case.by_extension(), case.by_torch())


@pytest.mark.parametrize("patience", [1, 2])
def test_patience_ends_as_in_torch(patience: int) -> None:
    """Each member by its own losses; the epochs until then are those of a training without patience."""
    case = Case([Setting(), Setting(dropout=0.5), Setting(weight_decay=30.0)], epochs=40)
    case.config = dataclasses.replace(case.config, learning_rate=0.03)
    whole = case.by_extension()
    case.config = dataclasses.replace(case.config, patience=patience)
    ended = case.by_extension()
    assert_same(ended, case.by_torch())
    lengths = [len(outcome.validation_loss) for outcome in ended]
    assert len(set(lengths)) > 2
    assert max(lengths) < 40
    for one, other, length in zip(ended, whole, lengths, strict=True):
        assert one.validation_loss.tobytes() == other.validation_loss[:length].tobytes()
        assert one.best_epoch == int(other.validation_loss[:length].argmin()) == length - 1 - patience
    torch.set_num_threads(2)
    for one, other in zip(case.by_extension(), ended, strict=True):
        assert one.validation_loss.tobytes() == other.validation_loss.tobytes()
        assert torch.equal(one.at_end, other.at_end)


def test_the_training_loss_may_be_left_out() -> None:
    case = Case([Setting(), Setting(dropout=0.5)])
    whole = case.by_extension()
    for train in (native_cohort.train, cohort.train):
        bare = train(case.config, case.build, case.members, case.data, training_curve=False)
        assert all(np.isnan(outcome.train_loss).all() for outcome in bare)
        blank = [outcome._replace(train_loss=full.train_loss) for outcome, full in zip(bare, whole, strict=True)]
        assert_same(blank, whole)


@pytest.mark.parametrize(
    ("hidden", "batch"), [((1,), 1), ((33,), 1000), ((8, 8), 16), ((40, 20, 3), 32), ((5, 70), 70), ((64, 64), 2)]
)
def test_any_sizes_train_as_torch_does(hidden: tuple[int, ...], batch: int) -> None:
    case = Case([Setting(), Setting(dropout=0.3, max_norm=0.5)], hidden=hidden, batch=batch, epochs=2)
    assert_same(case.by_extension(), case.by_torch())


@pytest.mark.parametrize("form", ["before", "after"])
def test_one_mask_beside_batch_norm_trains_as_torch_does(form: str) -> None:
    case = Case([Setting(dropout=0.4, one_mask=True, batch_norm=form)])  # type: ignore[arg-type]
    assert_same(case.by_extension(), case.by_torch())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("form", [None, "after"])
def test_units_that_a_whole_batch_drops_are_left_out_without_a_trace(task: str, form: str | None) -> None:
    """Wide layers leave dropped units out of their products: some of them, most, and in some steps all."""
    rates = (0.3, 0.5, 0.97)
    settings = [Setting(rate, one_mask=True, batch_norm=form, max_norm=2.0) for rate in rates]  # type: ignore[arg-type]
    case = Case(settings, task, hidden=(70, 96, 33), epochs=2)
    assert_same(case.by_extension(), case.by_torch())


def trainer(loss: _native.Loss, outputs: int, **changes: object) -> _native.TrainerF64:
    options = {
        "inputs": 5,
        "hidden": [6, 3],
        "outputs": outputs,
        "batch": 20,
        "loss": loss,
        "norm": _native.Norm.none,
        "shared": False,
        "learning_rate": 1.0,
        "kept": 1.0,
        "limit": 0.0,
        "keys": [1, 2, 3, 4],
    }
    return _native.TrainerF64(**{**options, **changes})  # type: ignore[arg-type]


def table(loss: _native.Loss, seed: int = 0) -> tuple[_native.TableF64, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, 5))
    codes = {_native.Loss.binary: 2, _native.Loss.multiclass: 4}.get(loss, 0)
    y = rng.integers(codes, size=20).astype(float) if codes else rng.normal(size=20)
    return _native.TableF64(x, y, codes), np.arange(20)


@pytest.mark.parametrize("loss", [_native.Loss.binary, _native.Loss.multiclass, _native.Loss.squared])
def test_gradients_are_those_of_the_loss(loss: _native.Loss) -> None:
    """Against central differences. The first step of Adam at rate 1 is g / (|g| + 1e-8), from which g follows."""
    outputs = 4 if loss == _native.Loss.multiclass else 1
    rng = np.random.default_rng(1)
    shapes = [(6, 5), (6,), (3, 6), (3,), (outputs, 3), (outputs,)]
    values = [rng.normal(size=shape) / 2 for shape in shapes]
    data, rows = table(loss)
    stepped = trainer(loss, outputs)
    stepped.set_parameters(values)
    stepped.train(data, rows)
    after = [np.empty(shape) for shape in shapes]
    stepped.parameters(after)
    probe = trainer(loss, outputs)

    def loss_with(number: int, place: tuple[int, ...], change: float) -> float:
        changed = [value.copy() for value in values]
        changed[number][place] += change
        probe.set_parameters(changed)
        return probe.loss(data, rows)

    seen = 0
    for number, shape in enumerate(shapes):
        for place in np.ndindex(*shape):
            slope = (loss_with(number, place, 1e-5) - loss_with(number, place, -1e-5)) / 2e-5
            step = values[number][place] - after[number][place]
            if abs(slope) < 1e-9:  # a unit that no row activates
                assert step == 0
                continue
            gradient = np.sign(step) * 1e-8 * abs(step) / (1 - abs(step))
            # differences: h² ≈ 1e-10 and 1e-16 / h ≈ 1e-11; 1 − |step| ≈ 1e-8 / |g| has lost digits
            assert gradient == pytest.approx(slope, rel=1e-6 + 1e-7 * abs(slope), abs=2e-9 + 1e-7 * slope**2)
            seen += 1
    assert seen > 30


def test_one_step_in_float32_differs_from_torchs_by_rounding_alone() -> None:
    """The bound follows from that of the gradients, through Adam's first step, g / (|g| + ε) times the rate."""
    case = Case([Setting()], hidden=(16,), batch=70, epochs=1, dtype=torch.float32)
    ours, oracle = case.by_extension()[0], case.by_torch()[0]
    network, data = case.cohort().networks[0].double(), case.data[0]
    x, y = data.x[data.train].double(), data.y[data.train].double()
    assert isinstance(network, MLP)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    nn.functional.binary_cross_entropy_with_logits(network(x)[:, 0], y).backward()
    # the same sums of absolute values: |dz| ≤ 1 / rows, and no ReLU closes
    size = {name: value.abs() for name, value in before.items()}
    units = x.abs() @ size["hidden.0.linear.weight"].T + size["hidden.0.linear.bias"]
    down = size["output.weight"] / 70
    largest = {
        "hidden.0.linear.weight": down.T * x.abs().sum(0),
        "hidden.0.linear.bias": down[0] * 70,
        "output.weight": units.sum(0)[None] / 70,
        "output.bias": torch.ones(1, dtype=torch.float64),
    }
    logits = float((units @ size["output.weight"].T).max())
    # roundings of a gradient on its way: 5 + 16 + 70 products and sums, and of exp at an argument of size `logits`
    roundings, unit = 5 + 16 + 70 + 20 + 4 * logits, 2.0**-24
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        gradient, error = parameter.grad.abs(), roundings * unit * largest[name] * (1 + logits)
        slope = 1e-8 / ((gradient - error).clamp_min(0) + 1e-8) ** 2
        rate = case.config.learning_rate
        bound = rate * (2 * error * slope).clamp_max(2) + 8 * unit * (size[name] + rate)
        difference = (ours.weights[name].double() - oracle.weights[name].double()).abs()
        assert bool((difference <= bound).all()), name
        assert float(bound.median()) < 0.01 * rate  # it says something about most weights


@pytest.mark.parametrize("setting", [Setting(dropout=0.4), Setting(dropout=0.4, batch_norm="after")])
def test_members_alone_and_together_and_on_any_threads_have_the_same_bits(setting: Setting) -> None:
    case = Case([Setting(batch_norm=setting.batch_norm), setting], dtype=torch.float32)
    together = case.by_extension()
    torch.set_num_threads(3)
    threads = case.by_extension()
    torch.set_num_threads(1)
    alone = [case.by_extension(slice(m, m + 1))[0] for m in reversed(range(len(case.members)))][::-1]
    for one, *others in zip(together, threads, alone, strict=True):
        for other in others:
            assert one.validation_loss.tobytes() == other.validation_loss.tobytes()
            assert torch.equal(one.at_end, other.at_end)
            assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize("setting", EVERY_KIND, ids=lambda setting: setting.label)
def test_every_instruction_set_trains_near_float64(isa: str, setting: Setting) -> None:
    """Three epochs in float32: 1e-3 is far below what another mask, order or rate would do."""
    oracle = Case([setting], epochs=3).by_extension()
    before = native.isa()
    native.use_isa(isa)
    try:
        ours = Case([setting], epochs=3, dtype=torch.float32).by_extension()
    finally:
        native.use_isa(before)
    for one, other in zip(ours, oracle, strict=True):
        np.testing.assert_allclose(one.validation_loss, other.validation_loss, rtol=1e-3)


def test_a_network_that_diverges_says_so() -> None:
    case = Case([Setting()], task="regression", epochs=3, dtype=torch.float32)
    case.config = dataclasses.replace(case.config, learning_rate=1e30)
    for outcome in case.by_extension():
        assert not outcome.at_end.isfinite().all()
        assert not np.isfinite(outcome.train_loss[-1])


def test_a_network_diverges_where_that_of_torch_does() -> None:
    # gradients whose squares float32 can't hold, and rates whose products with the mean it can't
    for scale, rate in ((1e20, 1e-3), (1.0, 1e38), (1e12, 1e10)):
        case = Case([Setting()], task="regression", epochs=2, dtype=torch.float32)
        case.config = dataclasses.replace(case.config, learning_rate=rate)
        case.data = [part._replace(y=part.y * scale) for part in case.data]
        for ours, theirs in zip(case.by_extension(), case.by_torch(), strict=True):
            assert np.array_equal(np.isfinite(ours.train_loss), np.isfinite(theirs.train_loss))
            assert bool(ours.at_end.isfinite().all()) == bool(theirs.at_end.isfinite().all())


def test_calls_of_the_extension_may_be_cut_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case([Setting(dropout=0.3)])
    whole = case.by_extension()
    monkeypatch.setattr(native_cohort, "_PRODUCTS_AT_ONCE", 1)
    for one, cut in zip(whole, case.by_extension(), strict=True):
        assert all(bool((one.weights[name] == cut.weights[name]).all()) for name in one.weights)
        np.testing.assert_allclose(one.train_loss, cut.train_loss, rtol=1e-6)
        torch.testing.assert_close(one.at_best, cut.at_best, rtol=1e-12, atol=1e-12)


def test_arrays_to_fill_are_not_converted() -> None:
    data, rows = table(_native.Loss.binary)
    own = trainer(_native.Loss.binary, 1)
    with pytest.raises(TypeError):
        own.outputs(data, rows, np.empty((20, 1), dtype=np.float32))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        own.loss(data, rows.astype(np.float64))  # type: ignore[arg-type]


def test_an_interrupt_ends_the_training() -> None:
    def interrupt(epoch: int) -> None:
        raise KeyboardInterrupt

    case = Case([Setting()])
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with pytest.raises(KeyboardInterrupt):
            native_cohort.train(case.config, case.build, case.members, case.data, interrupt)


def test_an_interrupt_comes_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_cohort, "_PULSE", 0.0)
    monkeypatch.setattr(native_cohort, "_PRODUCTS_AT_ONCE", 1)
    torch.set_num_threads(1)
    reports: list[int] = []
    case = Case([Setting()])
    native_cohort.train(case.config, case.build, case.members, case.data, reports.append)
    assert reports.count(0) > len(case.data[0].train) // case.config.batch_size
    assert reports == sorted(reports)
    assert set(reports) == set(range(case.config.epochs + 1))


def test_row_numbers_outside_the_table_are_refused() -> None:
    data, _ = table(_native.Loss.binary)
    own = trainer(_native.Loss.binary, 1)
    for bad in (-1, 20, 2**62):
        rows = np.array([*range(19), bad])
        with pytest.raises(IndexError, match="within the rows"):
            own.train(data, rows)
        with pytest.raises(IndexError, match="within the rows"):
            own.loss(data, rows)
        with pytest.raises(IndexError, match="within the rows"):
            own.outputs(data, rows, np.empty((20, 1)))


def test_what_does_not_fit_is_refused() -> None:
    data, rows = table(_native.Loss.binary)
    own = trainer(_native.Loss.binary, 1)
    with pytest.raises(ValueError, match="whole batches"):
        own.train(data, rows[:19])
    with pytest.raises(ValueError, match=r"\(rows, outputs\)"):
        own.outputs(data, rows, np.empty((20, 2)))
    with pytest.raises(ValueError, match="the network's inputs"):
        own.loss(_native.TableF64(np.ones((20, 4)), np.ones(20), 0), rows)
    with pytest.raises(ValueError, match="same number of rows"):
        _native.TableF64(np.ones((20, 5)), np.ones(19), 0)
    for codes in ([0.5] * 20, [2.0] * 20, [-1.0] * 20, [np.nan] * 20):
        with pytest.raises(ValueError, match="class codes"):
            _native.TableF64(np.ones((20, 5)), np.array(codes), 2)
    with pytest.raises(ValueError, match="those of the network"):
        own.set_parameters([np.ones((6, 5))])
    with pytest.raises(ValueError, match="the network's shapes"):
        own.parameters([np.ones(3)] * 6)
    for keep in ([0, 1, 1, 1], [65537, 1, 1, 1], [1, 1]):
        with pytest.raises(ValueError, match="threshold"):
            own.set_keep(keep)
    for changes in ({"hidden": []}, {"hidden": [0]}, {"batch": 0}, {"keys": [1]}):
        with pytest.raises(ValueError, match="need"):
            trainer(_native.Loss.binary, 1, **changes)
    with pytest.raises(ValueError, match="fit the loss"):
        trainer(_native.Loss.binary, 2)
    with pytest.raises(ValueError, match="two rows"):
        trainer(_native.Loss.binary, 1, norm=_native.Norm.after, batch=1)


def test_what_torch_trains_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(case: Case) -> str | None:
        return native_cohort.torch_reason(case.cohort())

    assert all(reason(Case([setting])) is None for setting in ARM_SETTINGS)
    assert reason(Case([Setting(batch_norm="after")], batch=1)) == "batch norm needs two rows"
    assert "float32 nor float64" in (reason(Case([Setting()], dtype=torch.float16)) or "")
    own = Case([Setting(dropout=0.1)])
    own.build = lambda _: nn.Sequential(nn.Linear(5, 1))  # type: ignore[method-assign]
    assert reason(own) == "the network is the user's own"
    assert reason(Case([Setting()], hidden=())) == "the network has no hidden layer"
    techniques = {
        "smooth": Technique(training_loss=lambda amount, task, output, y: output[:, 0] * amount),
        "everything": Technique(site_rates=lambda amount, rates: dict.fromkeys(rates, amount)),
        "half": Technique(site_rates=lambda amount, rates: dict.fromkeys(rates, amount)),
    }
    for module in (native_cohort, cohort, __import__("thinned.studies.training.network", fromlist=["network"])):
        monkeypatch.setattr(module, "TECHNIQUES", techniques)
    assert reason(Case([Setting(extras=(("smooth", 0.1),))])) == "a technique has a loss of its own"
    assert reason(Case([Setting(extras=(("everything", 1.0),))])) == "a dropout site drops everything"
    half = Case([Setting(extras=(("half", 0.5),))])
    assert reason(half) is None
    assert_same(half.by_extension(), half.by_torch())
    monkeypatch.setattr(native, "trains", lambda: False)
    assert reason(Case([Setting()])) == "the extension was built by a compiler without vector extensions"


def test_the_environment_names_the_trainer() -> None:
    before = native.isa()
    try:
        for name in _native.isas():
            native.use_isa(name)
            assert native.trainer_isa() in (name, "portable")
            assert environment()["trainer"] == f"native {native.trainer_isa()}"
    finally:
        native.use_isa(before)
