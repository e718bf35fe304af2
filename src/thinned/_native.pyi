"""
The compiled extension: memory by `data_ptr`, lengths and strides in elements. See thinned.kernels.native.
"""

from collections.abc import Sequence
import enum
from typing import Annotated

import numpy
from numpy.typing import NDArray

class Form(enum.Enum):
    """What is computed of x; see csrc/dropout.h."""

    dropout = 0

    add = 1

    alpha = 2

    alpha_backward = 3

class Dtype(enum.Enum):
    """Element types."""

    f32 = 0

    f64 = 1

    bf16 = 2

    f16 = 3

class Address:
    """Where the decisions of one mask come from."""

    def __init__(self, key: int, call: int, keep: int) -> None: ...

class MemberAddresses:
    """
    The address of each member: `keys` and `keeps`, where not 0, are arrays.
    """

    def __init__(
        self, key: int, call: int, keep: int, keys: int = 0, keeps: int = 0, key_stride: int = 0, keep_stride: int = 0
    ) -> None: ...

class Axis:
    """
    The size of an axis, and its strides in elements of each operand and of the mask.
    """

    def __init__(self, size: int, dst: int, src: int, residual: int, mask: int) -> None: ...

class MemberAxis:
    """The number of members, and their strides in each operand."""

    def __init__(self, count: int, dst: int, src: int, residual: int) -> None: ...

class ScoreRows:
    """
    Rows of attention scores; row r begins at index first + r * step of the mask.
    """

    def __init__(self, rows: int, columns: int, first: int, step: int) -> None: ...

def dropout(
    form: Form, dtype: Dtype, dst: int, src: int, residual: int, n: int, address: Address, threads: int
) -> None:
    """Dropout of n contiguous elements."""

def dropout_members(
    form: Form,
    dtype: Dtype,
    dst: int,
    src: int,
    residual: int,
    members: int,
    n: int,
    addresses: MemberAddresses,
    threads: int,
) -> None:
    """Dropout of members of n contiguous elements, one after the other."""

def dropout_strided(
    form: Form,
    dtype: Dtype,
    dst: int,
    src: int,
    residual: int,
    members: MemberAxis,
    axes: Sequence[Axis],
    offset: int,
    addresses: MemberAddresses,
    threads: int,
) -> None:
    """Dropout of members of any strides."""

def attention_forward(scores: int, lse: int, block: ScoreRows, address: Address, threads: int) -> None:
    """Softmax and dropout of scores in place."""

def attention_backward(
    scores: int, grads: int, lse: int, delta: int, block: ScoreRows, address: Address, threads: int
) -> None:
    """
    The dropped softmax in place of the scores, and their gradient in place of its own.
    """

def keep_mask(dst: int, packed: bool, offset: int, n: int, address: Address, threads: int) -> None:
    """Decisions of n successive indices: a byte each, or packed bits."""

def words(dst: int, group: int, groups: int, key: int, call: int) -> None:
    """The 64 words of each of successive groups, for tests of the generator."""

def normals(dst: int, offset: int, n: int, key: int, call: int, threads: int) -> None:
    """Standard normals of n successive indices."""

def thresholds(dst: int, p: int, stride: int, n: int) -> int:
    """
    Fill dst with the threshold of each p; return the position of the first invalid p, or -1.
    """

class Loss(enum.Enum):
    """The loss of a row."""

    binary = 0

    multiclass = 1

    squared = 2

class Norm(enum.Enum):
    """
    Whether the hidden layers have batch norm, and what dropout stands before or after.
    """

    none = 0

    before = 1

    after = 2

def trainer_isa() -> str:
    """The instruction set that trains cohorts."""

class TableF32:
    """
    Rows to train on: x (rows, columns) and y (rows,), which live as long as this.
    """

    def __init__(
        self,
        x: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu", writable=False)],
        y: Annotated[NDArray[numpy.float32], dict(shape=(None,), order="C", device="cpu", writable=False)],
        classes: int,
    ) -> None:
        """`classes`, where not 0, is the number of class codes that y may hold."""

class TrainerF32:
    """A multilayer perceptron in training; see csrc/cohort_trainer.h."""

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        batch: int,
        loss: Loss,
        norm: Norm,
        shared: bool,
        learning_rate: float,
        kept: float,
        limit: float,
        keys: Sequence[int],
    ) -> None: ...
    def set_parameters(
        self, tensors: Sequence[Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)]]
    ) -> None:
        """Begin with these values."""

    def parameters(self, out: Sequence[Annotated[NDArray[numpy.float32], dict(order="C", device="cpu")]]) -> None:
        """Fill these arrays with the present values."""

    def set_keep(self, keep: Sequence[int]) -> None:
        """The threshold of each dropout site."""

    def train(
        self,
        table: TableF32,
        order: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    ) -> None:
        """Steps on batches of these rows."""

    def loss(
        self,
        table: TableF32,
        rows: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    ) -> float:
        """Mean loss, dropout off."""

    def outputs(
        self,
        table: TableF32,
        rows: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
        out: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order="C", device="cpu")],
    ) -> None:
        """Fill `out` with the outputs, dropout off."""

    def keep_best(self) -> None:
        """Keep the present values as the best."""

    def restore_best(self) -> None:
        """Go back to the best values."""

class TableF64:
    """
    Rows to train on: x (rows, columns) and y (rows,), which live as long as this.
    """

    def __init__(
        self,
        x: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order="C", device="cpu", writable=False)],
        y: Annotated[NDArray[numpy.float64], dict(shape=(None,), order="C", device="cpu", writable=False)],
        classes: int,
    ) -> None:
        """`classes`, where not 0, is the number of class codes that y may hold."""

class TrainerF64:
    """A multilayer perceptron in training; see csrc/cohort_trainer.h."""

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        batch: int,
        loss: Loss,
        norm: Norm,
        shared: bool,
        learning_rate: float,
        kept: float,
        limit: float,
        keys: Sequence[int],
    ) -> None: ...
    def set_parameters(
        self, tensors: Sequence[Annotated[NDArray[numpy.float64], dict(order="C", device="cpu", writable=False)]]
    ) -> None:
        """Begin with these values."""

    def parameters(self, out: Sequence[Annotated[NDArray[numpy.float64], dict(order="C", device="cpu")]]) -> None:
        """Fill these arrays with the present values."""

    def set_keep(self, keep: Sequence[int]) -> None:
        """The threshold of each dropout site."""

    def train(
        self,
        table: TableF64,
        order: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    ) -> None:
        """Steps on batches of these rows."""

    def loss(
        self,
        table: TableF64,
        rows: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    ) -> float:
        """Mean loss, dropout off."""

    def outputs(
        self,
        table: TableF64,
        rows: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
        out: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order="C", device="cpu")],
    ) -> None:
        """Fill `out` with the outputs, dropout off."""

    def keep_best(self) -> None:
        """Keep the present values as the best."""

    def restore_best(self) -> None:
        """Go back to the best values."""

def isas() -> list[str]:
    """Instruction sets of this build that this machine has, fastest first."""

def isa() -> str:
    """The instruction set in use."""

def use_isa(name: str) -> bool:
    """
    Use an instruction set; return False where this build or machine does not have it.
    """
