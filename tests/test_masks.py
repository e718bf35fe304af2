"""Masks as random numbers.

Every test states how often it would fail on ideal random bits, and the smallest deviation it finds nine times in ten.
Masks are addresses, so a test that passes once passes always; the rates are those of the choice of the keys below.
"""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from thinned import _native, masks, philox
from thinned.kernels import native

FALSE_FAIL = 1e-6  # of each assertion below


def bound(count=1):
    """How many standard deviations ``count`` comparisons exceed with probability FALSE_FAIL altogether."""
    return float(stats.norm.isf(FALSE_FAIL / (2 * count)))


def agreement(a, b, keep):
    """Standardised excess of places where two masks of keep probability ``keep`` agree."""
    expected = keep**2 + (1 - keep) ** 2
    n = len(a)
    return float((np.count_nonzero(a == b) - n * expected) / math.sqrt(n * expected * (1 - expected)))


def mask(n, keep, key, call=0, offset=0):
    return native.keep_mask(n, key, call, keep, offset=offset).numpy()


@pytest.mark.parametrize("p", [0.001, 0.01, 0.05, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.66, 0.75, 0.9, 0.99, 0.999])
def test_keep_frequency(p):
    """False-fail rate 1e-6; finds a keep probability off by 6.2 sqrt(p (1 - p) / n), 0.0008 at p = 0.5, n = 2^24."""
    n, keep = 1 << 24, philox.threshold(p)
    q = keep / 65536
    kept = np.unpackbits(native.keep_mask(n, 2024, 1, keep, packed=True).numpy(), bitorder="little").sum()
    assert abs(kept - n * q) <= bound() * math.sqrt(n * q * (1 - q))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_neighbours_are_independent(p):
    """Pairs of elements 1 to 300 apart, and at powers of two. False-fail rate 1e-6 for all distances together; finds an
    excess of agreement of 0.0024 at p = 0.5.
    """
    n, keep = 1 << 22, philox.threshold(p)
    kept = mask(n, keep, 77)
    distances = [*range(1, 301), *(1 << k for k in range(9, 21))]
    worst = max(abs(agreement(kept[:-d], kept[d:], keep / 65536)) for d in distances)
    # agreements of (i, i + d) and (i + d, i + 2 d) share an element and correlate by less than 1/2 (0 at p = 1/2), so
    # the variance is less than twice that of independent ones
    assert worst <= bound(len(distances)) * math.sqrt(2)


@pytest.mark.parametrize("axis", ["call", "key", "site", "member"])
def test_streams_are_independent(axis):
    """Masks at addresses that differ in one thing. False-fail rate 1e-6 for all 63 pairs together; finds an excess of
    agreement of 7.0 sigma, 0.0034 at p = 0.5.
    """
    n, keep = 1 << 20, 32768
    key = philox.fold_in(7, 3)

    def stream(i):
        if axis == "call":
            return mask(n, keep, key, call=i)
        if axis == "key":
            return mask(n, keep, i)  # successive seeds, the least random keys there are
        if axis == "site":
            return mask(n, keep, philox.fold_in(7, philox.site_number(f"layers.{i}.drop")))
        return mask(n, keep, philox.fold_in(key, i))

    kept = [stream(i) for i in range(64)]
    assert max(abs(agreement(a, b, 0.5)) for a, b in itertools.pairwise(kept)) <= bound(63)


def group_of(out, key, call):
    """128 decisions at p = 0.5, packed, into two words."""
    _native.keep_mask(out.ctypes.data, True, 0, 128, _native.Address(key, call, 32768), 1)


def test_no_mask_repeats_over_a_million_calls():
    """128 elements a call at p = 0.5: a repeat among 10^6 ideal masks has probability 1.5e-27."""
    words = np.empty((1_000_000, 2), dtype=np.uint64)
    for call, row in enumerate(words):
        group_of(row, 5, call)
    assert len(np.unique(words.view("V16"))) == len(words)


def test_rows_of_a_training_run_are_independent():
    """The 128 columns of 20,000 successive calls as 0/1 variables: their correlations, standardised, are N(0, 1).

    False-fail rate 1e-6 over 8,128 pairs; finds a correlation of 0.055.
    """
    calls, columns = 20_000, 128
    rows = np.empty((calls, 2), dtype=np.uint64)
    for call, row in enumerate(rows):
        group_of(row, 99, call)
    kept = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little").astype(np.float64)
    centred = (kept - 0.5) * 2
    correlation = centred.T @ centred / math.sqrt(calls)
    pairs = correlation[np.triu_indices(columns, 1)]
    assert np.abs(pairs).max() <= bound(len(pairs))
    chi_squared = float((pairs**2).sum())
    assert stats.chi2.sf(chi_squared, len(pairs)) > FALSE_FAIL


def test_lanes_are_uniform():
    """Chi-squared over all 65,536 values of 2^22 lanes. False-fail rate 1e-6; finds deviations of 2.3 % (rms)."""
    starts = range(0, 1 << 22, 1 << 20)
    lanes = np.concatenate([philox.lanes(np.arange(start, start + (1 << 20)), 31) for start in starts])
    counts = np.bincount(lanes.astype(np.int64), minlength=65536)
    assert stats.chisquare(counts).pvalue > FALSE_FAIL


def test_normals_are_normal():
    """Kolmogorov-Smirnov on 2^20 normals: false-fail rate 1e-6; finds a distribution function off by 0.0035.

    Neighbours are uncorrelated within 5.7 sigma, which 70 distances together exceed with probability 1e-6.
    """
    z = philox.normals(np.arange(1 << 20), 8).astype(np.float64)
    assert stats.kstest(z, "norm").pvalue > FALSE_FAIL
    distances = range(1, 71)
    assert max(abs((z[:-d] * z[d:]).sum()) / math.sqrt(len(z) - d) for d in distances) <= bound(len(distances))


def test_the_expected_value_is_the_input():
    """The mean of 4,000 dropouts of 1,000 ones at p = 0.3. False-fail rate 1e-6; finds a bias of 0.0020."""
    p, calls, n = 0.3, 4000, 1000
    q = philox.threshold(p) / 65536
    kept = sum(int(masks.keep_mask((n,), p, 6, call).sum()) for call in range(calls))
    mean = kept * philox.scale(p) / (calls * n)
    assert abs(mean - 1) <= bound() * math.sqrt((1 - q) / q / (calls * n))
