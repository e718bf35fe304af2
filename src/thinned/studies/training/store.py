"""The folder of a run: its SQLite file holds the finished networks, and the same plan continues there."""

import contextlib
import errno
import json
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from filelock import FileLock, Timeout

from thinned.errors import InputError, sentence
from thinned.studies.design.plan import Plan
from thinned.studies.training.engines.environment import environment, versions
from thinned.studies.training.records import TrainedNetwork

__all__ = [
    "CHECKPOINTS",
    "DIVERGED",
    "ERRORS",
    "PILOT",
    "TEMPORARY",
    "TIMING",
    "Origin",
    "Store",
    "StoredRun",
    "check_folder",
    "finished_networks",
    "holds_store",
    "open_store",
    "read_store",
    "write_text",
    "writing",
]

#: folder within a run's for files that last as long as its training
TEMPORARY = ".training"
#: folder within a run's for the state of networks that take long
CHECKPOINTS = ".checkpoints"
#: file within a run's folder of the times by which its design was chosen
TIMING = "timing.json"
#: file within a run's folder of the error that the user's own code raised
ERRORS = "error.log"
#: file within a run's folder that says why it has no recommended network
DIVERGED = "diverged.json"
#: folder within a run's for the run that chose its settings
PILOT = "pilot"

_FILE = "study.sqlite"
_OURS = {_FILE, f"{_FILE}-wal", f"{_FILE}-shm", ".lock", TEMPORARY, PILOT}
_OURS |= {CHECKPOINTS, TIMING, ERRORS, DIVERGED, "results.json", "report.html", "model", "network"}
_OURS |= {f".{name}.partial" for name in ("results.json", "report.html", "model", "network", TIMING, ERRORS, DIVERGED)}
_CONTENTS = {
    "model": {"weights.safetensors", "encoder.skops", "model.json"},
    "network": {"weights.safetensors", "setting.json", "build.py", "__pycache__"},
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_APPLICATION = 0x7468696E  # "thin": marks a database as ours
_ELSEWHERE = "choose another folder with --out"


class Origin(NamedTuple):
    """What a run was made of, for those who go on with its store alone.

    Attributes:
        file: absolute path of the table, or None for a data frame.
        target: the column to predict.
        own: what a study of a network of one's own was made of, as JSON types; None of a table's.
    """

    file: str | None
    target: str
    own: object = None


class StoredRun(NamedTuple):
    """The content of a run's store.

    Attributes:
        plan: the plan.
        shown: the plan as JSON types, by which two are compared.
        environment: the versions and the instruction set that trained the networks.
        origin: what the run was made of, if it is known.
        networks: the finished networks.
        seconds: training time.
    """

    plan: Plan
    shown: dict[str, object]
    environment: dict[str, str]
    origin: Origin | None
    networks: list[TrainedNetwork]
    seconds: float


class Store:
    """Finished networks, committed a cohort at a time.

    Attributes:
        folder: the folder of the run.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self.folder = folder

    @classmethod
    def in_memory(cls, plan: Plan) -> "Store":
        """Make a store that ends with the process."""
        connection = sqlite3.connect(":memory:")
        _prepare(connection, Path(":memory:"), plan)
        store = cls(connection, Path(":memory:"))
        weakref.finalize(store, connection.close)  # Python 3.13 warns of a connection that nobody closes
        return store

    def networks(self) -> list[TrainedNetwork]:
        """All finished networks, in the order of size, repeat, fold and setting.

        Raises:
            InputError: a record is damaged.
        """
        rows = self._connection.execute("SELECT record FROM network ORDER BY size, repeat, fold, setting").fetchall()
        return [_network(row[0]) for row in rows]

    def __len__(self) -> int:
        """Return the number of finished networks."""
        return int(self._connection.execute("SELECT count(*) FROM network").fetchone()[0])

    def add(self, networks: Iterable[TrainedNetwork], seconds: float) -> None:
        """Commit the networks of one cohort and the time since the last: all of them or, when interrupted, none."""
        with self._connection:
            self._connection.executemany(
                "INSERT INTO network VALUES (?, ?, ?, ?, ?)",
                [(n.size, n.repeat, n.fold, n.setting, n.to_json()) for n in networks],
            )
            self._connection.execute("INSERT INTO cohort (seconds) VALUES (?)", (seconds,))

    def keep_origin(self, plan: Plan, origin: Origin) -> None:
        """Keep what the run is made of, so that its store can be merged."""
        with self._connection:
            self._connection.execute("DELETE FROM origin")
            values = json.dumps(origin._asdict()), msgspec.json.encode(plan).decode()
            self._connection.execute("INSERT INTO origin VALUES (?, ?)", values)

    @property
    def seconds(self) -> float:
        """Training time of all finished cohorts."""
        return float(self._connection.execute("SELECT coalesce(sum(seconds), 0) FROM cohort").fetchone()[0])


def finished_networks(folder: Path) -> int:
    """Count the finished networks in the folder of a run, those of a pilot included; 0 where it is none."""
    return _count_networks(folder) + _count_networks(folder / PILOT)


def _count_networks(folder: Path) -> int:
    with contextlib.suppress(OSError):  # such as a name that is too long, which opening the store reports
        if not (folder / _FILE).exists():
            return 0
    with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(folder / _FILE)) as connection:
        return len(Store(connection, folder))
    return 0  # not a store, as the run itself reports


def holds_store(folder: Path) -> bool:
    """Tell whether a folder holds the store of a run."""
    return (folder / _FILE).is_file()


def read_store(folder: Path) -> StoredRun:
    """Read the store of a shard, which stays as it is.

    Raises:
        InputError: the folder holds none, or one that no shard has written.
    """
    if not holds_store(folder):
        raise InputError(sentence("merging needs the folders of shards", f"{folder} holds no {_FILE}"))
    try:
        with closing(sqlite3.connect(folder / _FILE)) as connection:
            origin = connection.execute("SELECT origin, plan FROM origin").fetchone()
            shown = _plan_entry(connection.execute("SELECT json FROM plan").fetchone()[0])
            store = Store(connection, folder)
            networks, seconds = store.networks(), store.seconds
        plan = msgspec.json.decode(origin[1], type=Plan)
        made_of = Origin(**json.loads(origin[0]))
    except (sqlite3.Error, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        found = f"that in {folder} was not written with --shard"
        raise InputError(sentence("merging needs the stores of shards", found, "run `thinned study --shard`")) from None
    versions: dict[str, str] = dict(shown.pop("versions", {}))  # type: ignore[call-overload]
    return StoredRun(plan, shown, versions, made_of, networks, seconds)


@contextmanager
def open_store(folder: Path, plan: Plan, trained_in: Mapping[str, str] | None = None) -> Iterator[Store]:
    """Open or make the folder of a run; nothing in it is overwritten.

    Args:
        folder: of the run.
        plan: of the study.
        trained_in: the versions and the instruction set of networks that come from elsewhere; None takes those of this
            process.

    Raises:
        InputError: the folder holds something else, another study, or a run in progress.
    """
    with writing():
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise InputError(
                sentence(
                    "only one run at a time can write to a folder", f"another run is writing to {folder}", _ELSEWHERE
                )
            ) from None
    try:
        with closing(sqlite3.connect(folder / _FILE)) as connection:
            _prepare(connection, folder, plan, trained_in)
            yield Store(connection, folder)
    except sqlite3.OperationalError as error:
        raise InputError(sentence(f"{folder / _FILE} must be writable", f"SQLite says: {error}", _ELSEWHERE)) from None
    except sqlite3.DatabaseError as error:
        raise InputError(
            sentence(f"{folder / _FILE} must be a study's store", f"SQLite says: {error}", _ELSEWHERE)
        ) from None
    finally:
        lock.release()


@contextmanager
def writing() -> Iterator[None]:
    """Turn a full disk, a missing permission or a folder in a file's place into one sentence.

    Raises:
        InputError: a file could not be written.
    """
    try:
        yield
    except OSError as error:
        remedy = "make room" if error.errno in _FULL else _ELSEWHERE
        raise InputError(sentence("the output folder must be writable", f"got: {error}", remedy)) from None


def _plan_entry(text: str | bytes) -> dict[str, object]:
    """Read the plan in the store."""
    with contextlib.suppress(TypeError, ValueError, RecursionError):
        entry = json.loads(text)
        if isinstance(entry, dict):
            return entry
    raise _damaged()


def _network(text: str | bytes) -> TrainedNetwork:
    try:
        return TrainedNetwork.from_json(text)
    except (TypeError, ValueError, RecursionError):
        raise _damaged() from None


def _damaged() -> InputError:
    return InputError(sentence(f"{_FILE} must be as the study wrote it", "an entry is damaged", _ELSEWHERE))


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but a run.

    Raises:
        InputError: see above.
        OSError: it can't be read.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(sentence("the output must be a folder", f"{folder} is a file", _ELSEWHERE))
    if not folder.is_dir():
        return
    strange = sorted(entry.name for entry in folder.iterdir() if entry.name not in _OURS)
    for name, contents in _CONTENTS.items():
        if (folder / name).is_dir():
            strange += sorted(f"{name}/{e.name}" for e in (folder / name).iterdir() if e.name not in contents)
    others = sorted(entry.name for entry in folder.iterdir() if entry.name not in (PILOT, TIMING))
    if strange or (others and not (folder / _FILE).exists()):
        first = [*strange, *others][0]
        requirement = "the output folder must be new, empty or that of the same study"
        raise InputError(sentence(requirement, f"{folder} holds {first!r}", _ELSEWHERE))


def _prepare(
    connection: sqlite3.Connection, folder: Path, plan: Plan, trained_in: Mapping[str, str] | None = None
) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise InputError(
            sentence(f"{folder / _FILE} must be a study's store", "it is another program's database", _ELSEWHERE)
        )
    if not tables:
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
    connection.execute("PRAGMA journal_mode=WAL")
    with connection:
        connection.execute("CREATE TABLE IF NOT EXISTS plan (json TEXT NOT NULL)")
        connection.execute("CREATE TABLE IF NOT EXISTS origin (origin TEXT NOT NULL, plan TEXT NOT NULL)")
        connection.execute("CREATE TABLE IF NOT EXISTS cohort (number INTEGER PRIMARY KEY, seconds REAL NOT NULL)")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS network "
            "(size INTEGER, repeat INTEGER, fold INTEGER, setting INTEGER, record TEXT NOT NULL, "
            "PRIMARY KEY (size, repeat, fold, setting))"
        )
        row = connection.execute("SELECT json FROM plan").fetchone()
        kept = connection.execute("SELECT count(*) FROM network").fetchone()[0]
        now = plan.to_dict() | {"versions": dict(trained_in or _versions(plan))}
        if row is None or not kept:  # nothing was kept of an earlier plan
            connection.execute("DELETE FROM plan")
            connection.execute("DELETE FROM origin")
            connection.execute("INSERT INTO plan VALUES (?)", (json.dumps(now),))
            return
    before = _plan_entry(row[0])
    if kept == plan.networks:  # nothing is left to train, that other versions would train otherwise
        now["versions"] = before.get("versions")
    changed = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    if changed:
        required = f"{folder} holds a study, which only the same plan, data and versions can continue"
        raise InputError(sentence(required, _difference(before, now, changed), _ELSEWHERE))


def _versions(plan: Plan) -> dict[str, str]:
    """Versions, instruction set and trainer: the numbers of networks follow from them and from the plan."""
    return environment() if plan.network is None and plan.own is None else versions()


def _difference(before: Mapping[str, object], now: Mapping[str, object], changed: set[str]) -> str:
    """Describe the difference of two plans: data and settings first, because other entries follow from them."""
    order: tuple[str, ...] = ("columns", "group_duplicates", "data", "own", "settings")
    first = [entry for entry in order if entry in changed]
    name = (first or sorted(changed))[0]
    if name == "data":
        return "the data have changed since" if now.get("own") else "the table has changed since"
    if name == "own":
        with contextlib.suppress(KeyError, ValueError):
            found = _own_difference(*(msgspec.convert(plan[name], _OwnEntry) for plan in (before, now)))
            if found is not None:
                return found
        name = next((other for other in ("settings", *sorted(changed - {"own"})) if other in changed), name)
    if name == "settings":
        with contextlib.suppress(TypeError, KeyError):
            stored, wanted = (_labels(plan[name]) for plan in (before, now))
            gone = [f"no longer {label}" for label in stored if label not in wanted]
            new = [f"now {label}" for label in wanted if label not in stored]
            return f"settings differ: {', '.join([*gone[:3], *new[:3]])}{', …' * (max(len(gone), len(new)) > 3)}"
    return f"{name} was {before.get(name)!r} and is {now.get(name)!r}"


class _OwnEntry(msgspec.Struct):
    """What is compared of :class:`~thinned.studies.design.own_network.network_design.NetworkDesign`."""

    stage: str
    identities: dict[str, str | None]
    training: list[tuple[str, object]]


def _own_difference(before: _OwnEntry, now: _OwnEntry) -> str | None:
    """What differs in the part of a network of one's own; None where it is a consequence of something else."""
    words = {"build": "the network", "loss": "the loss", "score": "the score", "sampler": "the sampler"}
    words |= {"train": "the training function", "collate": "the collate function"}
    one, two = before.identities, now.identities
    for name, word in words.items():
        if one.get(name) != two.get(name):
            return f"the source of {word} has changed since"
    if one["state"] != two["state"]:
        return "the network's initial state has changed since"
    values = dict(now.training)
    if ("train" in values) != ("train" in dict(before.training)):
        return "one of the two is trained by a function of the user's"
    for name, value in before.training:
        if value != values[name]:
            return f"{name} was {value!r} and is {values[name]!r}"
    if before.stage != now.stage:
        return f"it has the design {before.stage!r}, and the new one is {now.stage!r}"
    return None


def _labels(settings: Any) -> list[str]:
    return [setting["label"] for setting in settings]


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: an earlier one stays until the new one is complete."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # a path may hold any bytes
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
