"""The specification of every mask, in NumPy: Philox bits, ``fold_in`` and keep decisions.

All other implementations (C++, torch) must give these bits. Philox4x32-10 is from Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3"; ten rounds, because its authors leave a doubt at seven.
"""

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = [
    "GROUP",
    "dropout",
    "fold_in",
    "fold_in_each",
    "keep",
    "lanes",
    "normals",
    "philox4x32",
    "scale",
    "site_number",
    "threshold",
    "words",
]

GROUP = 128  # elements served by 16 consecutive blocks: one 512-bit register of 32-bit words per output word
_U64 = np.uint64
_LOW = _U64(0xFFFFFFFF)
_MULTIPLIERS = (_U64(0xD2511F53), _U64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_FOLD_IN = 0x666F6C64  # "fold": keeps derived keys apart from the counters of masks

Words = npt.NDArray[np.uint64]
_Floats = npt.NDArray[np.float32]

LOG_POLYNOMIAL = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
ERFINV_POLYNOMIALS = (  # highest power first: where w < 5, elsewhere
    (2.81022636e-08, -0.000200214257),
    (3.43273939e-07, 0.000100950558),
    (-3.5233877e-06, 0.00134934322),
    (-4.39150654e-06, -0.00367342844),
    (0.00021858087, 0.00573950773),
    (-0.00125372503, -0.0076224613),
    (-0.00417768164, 0.00943887047),
    (0.246640727, 1.00167406),
    (1.50140941, 2.83297682),
)


def philox4x32(counter: Words, key: Words, rounds: int = 10) -> Words:
    """The generator Philox4x32.

    Args:
        counter: ``(..., 4)`` 32-bit words, held in uint64.
        key: ``(..., 2)`` 32-bit words, held in uint64.
        rounds: the published generator has 10.

    Returns:
        ``(..., 4)`` 32-bit words, held in uint64.
    """
    c0, c1, c2, c3 = (counter[..., i] for i in range(4))
    k0, k1 = key[..., 0], key[..., 1]
    for i in range(rounds):
        r0, r1 = (k0 + _U64(i * _WEYL[0] & 0xFFFFFFFF)) & _LOW, (k1 + _U64(i * _WEYL[1] & 0xFFFFFFFF)) & _LOW
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product1 >> _U64(32)) ^ c1 ^ r0,
            product1 & _LOW,
            (product0 >> _U64(32)) ^ c3 ^ r1,
            product0 & _LOW,
        )
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1)


def _words(number: int) -> tuple[int, int]:
    number &= 0xFFFFFFFFFFFFFFFF
    return number & 0xFFFFFFFF, number >> 32


def fold_in(key: int, n: int) -> int:
    """Derive the 64-bit key number ``n`` from ``key``: Philox at counter ``(n_lo, n_hi, "fold", 0)``."""
    return int(fold_in_each(key, [n & 0xFFFFFFFFFFFFFFFF])[0])


def fold_in_each(key: int, numbers: npt.ArrayLike) -> Words:
    """:func:`fold_in` of each of many numbers, such as those of members: 64-bit keys, in the shape of ``numbers``."""
    n = np.asarray(numbers, dtype=_U64)
    counter = np.stack([n & _LOW, n >> _U64(32), np.full_like(n, _FOLD_IN), np.zeros_like(n)], axis=-1)
    out = philox4x32(counter, np.array(_words(key), dtype=_U64))
    return out[..., 0] | out[..., 1] << _U64(32)


def site_number(name: str) -> int:
    """The 64-bit number of a dropout site: the first 8 bytes (little-endian) of blake2b of its qualified name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=64).digest()[:8], "little")


def lanes(index: npt.ArrayLike, key: int, call: int = 0) -> npt.NDArray[np.uint64]:
    """The 16 random bits of each element.

    Args:
        index: row-major indices in the mask's shape, any shape.
        key: 64-bit key.
        call: 64-bit number of the training forward pass.

    Returns:
        Integers in [0, 65536), of the shape of ``index``.
    """
    i = np.asarray(index, dtype=_U64)
    within = i & _U64(127)
    block = (i >> _U64(7)) * _U64(16) + (within & _U64(15))
    call_lo, call_hi = (np.broadcast_to(_U64(word), i.shape) for word in _words(call))
    counter = np.stack([block & _LOW, block >> _U64(32), call_lo, call_hi], axis=-1)
    out = philox4x32(counter, np.array(_words(key), dtype=_U64))
    word = np.take_along_axis(out, (within >> _U64(5)).astype(np.intp)[..., None], axis=-1)[..., 0]
    return (word >> (_U64(16) * ((within >> _U64(4)) & _U64(1)))) & _U64(0xFFFF)


def words(index: npt.ArrayLike, key: int, call: int = 0) -> npt.NDArray[np.uint64]:
    """The 32 random bits of each element, where an element needs more than a decision.

    Groups are of 64 elements then, served by 16 blocks as those of :func:`lanes` are: for ``e = i & 63``,
    ``block = 16 * (i >> 6) + (e & 15)`` and ``word = e >> 4``.
    """
    i = np.asarray(index, dtype=_U64)
    block = (i >> _U64(6)) * _U64(16) + (i & _U64(15))
    call_lo, call_hi = (np.broadcast_to(_U64(word), i.shape) for word in _words(call))
    counter = np.stack([block & _LOW, block >> _U64(32), call_lo, call_hi], axis=-1)
    out = philox4x32(counter, np.array(_words(key), dtype=_U64))
    return np.take_along_axis(out, ((i & _U64(63)) >> _U64(4)).astype(np.intp)[..., None], axis=-1)[..., 0]


def _log(x: _Floats) -> _Floats:
    """Natural logarithm of positive normal numbers by Cephes' polynomial, each operation rounded to float32."""
    f = np.float32
    bits = x.view(np.int32)
    mantissa = ((bits & 0x7FFFFF) | 0x3F000000).view(f)
    small = mantissa < f(0.707106781186547524)
    exponent = ((bits >> 23) - 126 - small).astype(f)
    m = np.where(small, mantissa + mantissa - f(1), mantissa - f(1))
    z = m * m
    y = np.full_like(m, LOG_POLYNOMIAL[0])
    for c in LOG_POLYNOMIAL[1:]:
        y = y * m + f(c)
    y = y * m * z
    y = y + exponent * f(-2.12194440e-4)
    y = y - f(0.5) * z
    result: _Floats = (m + y) + exponent * f(0.693359375)
    return result


def normals(index: npt.ArrayLike, key: int, call: int = 0) -> _Floats:
    """A standard normal for each element, in float32: the same bits on every machine and backend.

    The lower 31 of the element's 32 bits give the tail probability ``v / 2`` with ``v = (bits + 1/2) / 2^31``, the top
    bit the sign. The quantile function is by Giles 2012, "Approximating the erfinv function", in single precision; it
    errs by less than 2e-6 up to 5 standard deviations and by less than 0.003 at the farthest value, 6.3.
    """
    f = np.float32
    word = words(np.ravel(index), key, call)  # an axis, since NumPy 1 widens what has none
    v = ((word & _U64(0x7FFFFFFF)).astype(f) + f(0.5)) * f(2.0**-31)
    w = -_log(v * (f(2) - v))
    central = w < f(5)
    u = np.where(central, w - f(2.5), np.sqrt(np.maximum(w, f(0))) - f(3))
    quotient = np.zeros_like(v)
    for inner, tail in ERFINV_POLYNOMIALS:
        quotient = quotient * u + np.where(central, f(inner), f(tail))
    z = f(1.41421356237309505) * (quotient * (f(1) - v))
    signed: _Floats = np.where(word >> _U64(31) != 0, -z, z)
    return signed.reshape(np.shape(index))


def threshold(p: float) -> int:
    """The number of lane values, of 65,536, that keep an element: round((1 − p) · 65536), at least 1 while p < 1."""
    return max(round((1.0 - p) * 65536), 1 if p < 1 else 0)


def scale(p: float) -> float:
    """The factor of survivors: the inverse of the *quantised* keep probability, so that E[dropout(a)] = a."""
    kept = threshold(p)
    return 65536 / kept if kept else 0.0


def keep(index: npt.ArrayLike, p: float, key: int, call: int = 0) -> npt.NDArray[np.bool_]:
    """The keep decision of each index: True where the element survives."""
    return lanes(index, key, call) < _U64(threshold(p))


def dropout(a: npt.NDArray[np.floating], p: float, key: int, call: int = 0) -> npt.NDArray[np.floating]:
    """Inverted dropout (Srivastava et al. 2014) of an array: survivors times :func:`scale`, the rest exactly 0.

    The decision is selected, never multiplied, so that a dropped NaN or infinity becomes 0.
    """
    kept = keep(np.arange(a.size).reshape(a.shape), p, key, call)
    return np.where(kept, a * a.dtype.type(scale(p)), a.dtype.type(0)) if threshold(p) < 65536 else a.copy()
