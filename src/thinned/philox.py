"""The specification of every mask, in NumPy: Philox bits, ``fold_in`` and keep decisions.

All other implementations (C++, torch, Triton) must give these bits. Philox4x32-10 is from Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3"; ten rounds, since its authors leave a doubt at seven.
"""

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = ["GROUP", "dropout", "fold_in", "keep", "lanes", "philox4x32", "scale", "site_number", "threshold"]

GROUP = 128  # elements served by 16 consecutive blocks: one 512-bit register of 32-bit words per output word
_U64 = np.uint64
_LOW = _U64(0xFFFFFFFF)
_MULTIPLIERS = (_U64(0xD2511F53), _U64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_FOLD_IN = 0x666F6C64  # "fold": keeps derived keys apart from the counters of masks

Words = npt.NDArray[np.uint64]


def philox4x32(counter: Words, key: Words, rounds: int = 10) -> Words:
    """Philox4x32.

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
    counter = np.array([*_words(n), _FOLD_IN, 0], dtype=_U64)
    out = philox4x32(counter, np.array(_words(key), dtype=_U64))
    return int(out[0]) | int(out[1]) << 32


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


def threshold(p: float) -> int:
    """How many of the 65,536 lane values keep an element: round((1 − p) · 65536), at least 1 while p < 1."""
    return max(round((1.0 - p) * 65536), 1 if p < 1 else 0)


def scale(p: float) -> float:
    """What survivors are multiplied by: the inverse of the *quantised* keep probability, so that E[dropout(a)] = a."""
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
