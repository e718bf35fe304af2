"""Kernels in eight Python threads at once, with a GIL or without: each result is, bit for bit, that of one thread."""

import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from bitwise import DTYPES, bits, threads, values

import thinned
from thinned import _native, functional
from thinned.kernels import native

THREADS = 8
LARGE = 1 << 17  # elements: from twice 32,768 on, a kernel has threads of its own
KEYS = torch.tensor([7, -1, 1 << 62])
RATES = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)

Task = Callable[[], list[torch.Tensor]]


def of_dropout(dtype: torch.dtype, n: int) -> Task:
    def task() -> list[torch.Tensor]:
        x = values(n, dtype).requires_grad_()
        y = functional.dropout(x, 0.3, key=3, call=n)
        y.backward(values(n, dtype).flip(0))
        return [y.detach(), x.grad]

    return task


def of_layouts() -> list[torch.Tensor]:
    x = values(3 * 4100, torch.float32).reshape(3, 50, 82)
    return [
        functional.dropout(x, RATES, key=KEYS),
        functional.dropout(x.mT, 0.3, key=3, shared=(1,)),
        functional.dropout(x[:, ::2], 0.3, key=3, within=((5, 60, 90), (1, 2, 3))),
        functional.dropout_add(x, x.flip(0), 0.3, key=3),
        functional.alpha_dropout(x, 0.3, True, key=3),
        functional.gaussian_dropout(x, 0.3, True, key=3),
    ]


def of_decisions() -> list[torch.Tensor]:
    words = torch.empty(64 * 40, dtype=torch.int32)
    _native.words(words.data_ptr(), 5, 40, 3, 4)
    packed, plain = (native.keep_mask(LARGE + 3, 3, 4, 20_000, offset=77, packed=form) for form in (True, False))
    return [words, packed, plain, native.thresholds(RATES)]


def of_attention() -> list[torch.Tensor]:
    q, k, v = (torch.sin(torch.arange(2.0 * 3 * 17 * 8) + i).reshape(2, 3, 17, 8).requires_grad_() for i in range(3))
    out = thinned.scaled_dot_product_attention(q, k, v, dropout_p=0.25, dropout_key=3)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), (q, k, v))]


SHAPES = ((13, 5), (13,), (7, 13), (7,), (1, 7), (1,))
ROWS = 96
ORDER = np.tile(np.arange(ROWS), 40)  # milliseconds of training, so that threads meet in it


def make_trainer(
    number: str,
) -> tuple["_native.TrainerF32 | _native.TrainerF64", "_native.TableF32 | _native.TableF64"]:
    """A network of float32 or float64 (``"F32"`` or ``"F64"``) with dropout, and rows to train it on."""
    dtype = {"F32": np.float32, "F64": np.float64}[number]
    trainer = getattr(_native, f"Trainer{number}")(
        inputs=5, hidden=[13, 7], outputs=1, batch=16, loss=_native.Loss.binary, norm=_native.Norm.none, shared=False,
        learning_rate=0.01, kept=0.999, limit=0.0, keys=[1, 2, 3, 4],
    )  # fmt: skip
    trainer.set_parameters([np.sin(np.arange(np.prod(s)) + i).reshape(s).astype(dtype) for i, s in enumerate(SHAPES)])
    trainer.set_keep([60_000, 40_000, 30_000, 65_536])
    x = np.cos(np.arange(ROWS * 5)).reshape(ROWS, 5).astype(dtype)
    return trainer, getattr(_native, f"Table{number}")(x, (x[:, 0] > 0).astype(dtype), 2)


def learned(trainer: "_native.TrainerF32 | _native.TrainerF64", number: str) -> list[torch.Tensor]:
    out = [np.zeros(shape, {"F32": np.float32, "F64": np.float64}[number]) for shape in SHAPES]
    trainer.parameters(out)
    return [torch.from_numpy(value) for value in out]


def of_training(number: str) -> Task:
    def task() -> list[torch.Tensor]:
        trainer, table = make_trainer(number)
        trainer.train(table, ORDER)
        return [torch.tensor(trainer.loss(table, np.arange(ROWS))), *learned(trainer, number)]

    return task


def tasks() -> list[Task]:
    dropout = [of_dropout(dtype, n) for dtype in DTYPES for n in (1003, LARGE)]
    training = [of_training(number) for number in ("F32", "F64")] if native.trains() else []
    return [*dropout, of_layouts, of_decisions, of_attention, *training]


def together(work: Callable[[int], object]) -> list[object]:
    """Call ``work`` with the number of each thread; all start at once."""
    barrier = threading.Barrier(THREADS)

    def start(thread: int) -> object:
        barrier.wait()
        return work(thread)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start, range(THREADS)))


@pytest.mark.parametrize("kernel_threads", [1, 2])
def test_every_kernel_in_eight_threads_gives_what_it_gives_alone(kernel_threads: int) -> None:
    """Two threads each begin with the same kernel, so that equal and different ones meet."""
    with threads(1):
        expected = [task() for task in tasks()]

    def work(thread: int) -> None:
        mine = tasks()
        for i in range(len(mine)):
            at = (thread // 2 + i) % len(mine)
            for out, alone in zip(mine[at](), expected[at], strict=True):
                assert torch.equal(bits(out), bits(alone))

    with threads(kernel_threads):
        together(work)


@pytest.mark.skipif(not native.trains(), reason="this build has no native trainer")
def test_threads_that_share_a_trainer_take_turns() -> None:
    """As many calls, in whatever order threads come, are the same network."""
    alone, table = make_trainer("F32")
    for _ in range(THREADS * 3):
        alone.train(table, ORDER)
    shared, table = make_trainer("F32")

    def work(_: int) -> None:
        for _ in range(3):
            shared.train(table, ORDER)

    together(work)
    assert all(map(torch.equal, learned(shared, "F32"), learned(alone, "F32")))


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has a GIL")
def test_the_extension_does_not_switch_the_gil_on() -> None:
    program = "import sys, thinned._native; sys.exit(sys._is_gil_enabled())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=environment, check=True, timeout=300)
