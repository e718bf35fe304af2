"""A training that was killed goes on from its checkpoint, bit for bit."""

from pathlib import Path

import pytest
from example_networks import trained

from thinned.studies.training.loop.checkpoint import Checkpoint


class Killed(BaseException):
    pass


class Dying(Checkpoint):
    """Writes a checkpoint after every step, and is killed after some of them."""

    def __init__(self, path: Path, identity: str, lives: int) -> None:
        super().__init__(path, identity, 0.0)
        self.lives = lives

    def save(self, position, tensors) -> None:  # type: ignore[no-untyped-def]
        super().save(position, tensors)
        self.lives -= 1
        if not self.lives:
            raise Killed


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("steps", [1, 5, 7])
def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path, optimizer: str, steps: int) -> None:
    path = tmp_path / "networks" / "0.safetensors"
    changes = {"optimizer": optimizer, "schedule": "cosine", "patience": 9, "epochs": 4}
    whole = trained(**changes)  # type: ignore[arg-type]
    with pytest.raises(Killed):
        trained(checkpoint=Dying(path, "plan", steps), **changes)  # type: ignore[arg-type]
    assert path.exists()
    reported: list[int] = []
    assert trained(checkpoint=Checkpoint(path, "plan"), report=reported.append, **changes) == whole  # type: ignore[arg-type]
    assert reported[0] == 1 + steps // 3  # three steps an epoch: what was trained is not trained again
    assert not path.exists()


def test_a_checkpoint_of_something_else_or_a_damaged_one_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "0.safetensors"
    with pytest.raises(Killed):
        trained(checkpoint=Dying(path, "plan", 4))
    assert Checkpoint(path, "plan").load() is not None
    assert Checkpoint(path, "another plan").load() is None
    path.write_bytes(path.read_bytes()[:100])
    assert Checkpoint(path, "plan").load() is None
    assert Checkpoint(tmp_path / "none", "plan").load() is None


def test_nothing_is_written_before_its_time(tmp_path: Path) -> None:
    trained(checkpoint=Checkpoint(tmp_path / "networks" / "0.safetensors", "plan"))
    assert list(tmp_path.iterdir()) == []
