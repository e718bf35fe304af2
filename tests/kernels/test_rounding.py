"""No result depends on how a math library rounds: torch's vectorised sqrt, for one, differs between processors."""

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from bitwise import BACKENDS, backend, bits, same_bits

from thinned import functional, philox
from thinned.kernels import aten
from thinned.kernels.form import Form, affine


def is_rounded_root(root: float, x: float, digits: int) -> bool:
    """In integers: the square of the midpoints to the root's neighbours lies on either side of x."""
    _, exponent = math.frexp(root)
    unit = math.ldexp(1.0, exponent - digits - 1)  # half of a unit in the last place
    numerator, denominator = x.as_integer_ratio()
    low, high = ((int(root / unit) + side) ** 2 for side in (-1, 1))
    square, parts = unit.as_integer_ratio()
    scaled = numerator * parts * parts
    return low * square * square * denominator <= scaled <= high * square * square * denominator


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 24), (torch.float64, 53)])
def test_roots_are_correctly_rounded(dtype: torch.dtype, digits: int) -> None:
    x = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(30).to(dtype)
    for value, root in zip(x.tolist(), aten.sqrt(x).tolist(), strict=True):
        assert is_rounded_root(root, value, digits)
    assert not is_rounded_root(math.nextafter(1.5, 2.0), 2.25, 53)


@pytest.mark.parametrize("form", [Form.DROPOUT, Form.ALPHA, Form.ALPHA_BACKWARD])
def test_the_numbers_of_every_threshold_are_the_specified_ones(form: Form) -> None:
    """65,536 thresholds; at 0 nothing survives, so that the scale is never used."""
    keep = torch.arange(1, 65537)
    expected = torch.tensor([affine(form, k) for k in keep.tolist()], dtype=torch.float64)
    for column, found in enumerate(aten.affine(form, keep)):
        assert torch.equal(found.expand(65536), expected[:, column])


def test_normals_of_the_torch_backend_are_the_specified_ones_far_into_the_tails() -> None:
    index = np.arange(1 << 18)
    expected = torch.from_numpy(philox.normals(index, 7, 1))
    assert expected.abs().max() > 4.4  # where the quantile function takes a root
    same_bits(aten.normals_at(torch.from_numpy(index), torch.tensor(7), torch.tensor(1)), expected)


@pytest.mark.parametrize("name", [*BACKENDS, "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gaussian_noise_is_what_numpy_computes(name: str, dtype: type) -> None:
    """All backends share the multiplication, so it is checked against a second one."""
    x = np.random.default_rng(0).standard_normal(5000).astype(dtype)
    for p in (1e-4, 0.1, 1 / 3, 0.5, 0.9, 0.9999):
        q = philox.threshold(p) / 65536
        noise = philox.normals(np.arange(5000), 3, 2).astype(dtype) * dtype(math.sqrt((1 - q) / q)) + dtype(1)
        rates = torch.tensor([p, p], dtype=torch.float64)
        with backend(name) as impl:
            same_bits(
                functional.gaussian_dropout(torch.from_numpy(x), p, key=3, call=2, impl=impl),
                torch.from_numpy(x * noise),
            )
            members = functional.gaussian_dropout(torch.from_numpy(np.stack([x, x])), rates, key=3, call=2, impl=impl)
        same_bits(members[1], torch.from_numpy(x * noise))


def digest() -> str:
    """Of the bits of every function that promises them, on every backend."""
    total = hashlib.sha256()
    x = torch.randn(3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name in BACKENDS:
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            with backend(name) as impl:
                for function in (functional.dropout, functional.alpha_dropout, functional.gaussian_dropout):
                    out = function(x.to(dtype), 0.3, True, key=5, impl=impl)
                    total.update(bits(out).numpy().tobytes())
    return total.hexdigest()


@pytest.mark.parametrize(
    "environment",
    [{"ATEN_CPU_CAPABILITY": "default"}, {"ATEN_CPU_CAPABILITY": "avx2"}, {"MKL_CBWR": "COMPATIBLE"}],
    ids=str,
)
@pytest.mark.parametrize("threads", ["1", "2"])
def test_bits_do_not_depend_on_the_libraries_code_paths(environment: dict[str, str], threads: str) -> None:
    program = "import test_rounding; print(test_rounding.digest())"
    here = os.path.dirname(__file__)  # noqa: PTH120
    path = os.pathsep.join([here, os.path.dirname(here), *sys.path])  # noqa: PTH120
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment, "OMP_NUM_THREADS": threads, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert run.stdout.strip() == digest()
