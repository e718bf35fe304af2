"""Device functions of :mod:`thinned.philox`: its bits and keep decisions, for any kernel.

One call of Philox decides on eight elements. Element ``i`` of a mask belongs to group ``i >> 7`` and, within it, to
block ``i & 15``; its lane is ``(i >> 4) & 7``. So block ``c`` of group ``g`` decides on the elements ``128 g + c +
16 lane``: sixteen blocks side by side give, lane by lane, runs of sixteen neighbours, and no thread needs another
thread's bits.

A number of 64 bits is two words of 32 here. What is the same for all elements stays a scalar.
"""

import triton
import triton.language as tl

__all__ = [
    "block_words",
    "group_words",
    "keep_at",
    "keep_limit",
    "kept",
    "lane_bits",
    "low_high",
    "philox4x32",
    "word_at",
    "words_at",
]


@triton.jit
def philox4x32(c0, c1, c2, c3, k0, k1):
    """:func:`thinned.philox.philox4x32`, ten rounds; the counter and key are uint32, and broadcast."""
    for _ in tl.static_range(10):
        # one 64-bit product is one instruction; its halves by umulhi and a product would be two
        product0 = c0.to(tl.uint64) * 0xD2511F53
        product1 = c2.to(tl.uint64) * 0xCD9E8D57
        c0 = (product1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c2 = (product0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c1 = product1.to(tl.uint32)
        c3 = product0.to(tl.uint32)
        k0 = k0 + 0x9E3779B9
        k1 = k1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def low_high(number):
    """The two uint32 words of an int64 or uint64."""
    bits = number.to(tl.uint64)
    return bits.to(tl.uint32), (bits >> 32).to(tl.uint32)


@triton.jit
def block_words(block_low, block_high, key_low, key_high, call_low, call_high):
    """The four uint32 words of each block at a key and call, all uint32."""
    return philox4x32(block_low, block_high, call_low, call_high, key_low, key_high)


@triton.jit
def group_words(first_block, GROUPS: tl.constexpr, CARRY: tl.constexpr, key_low, key_high, call_low, call_high, zero=0):
    """The words of ``GROUPS`` groups in a row, each ``(GROUPS, 16)``, from the int64 block on; see :func:`lane_bits`.

    ``CARRY`` False states that all of these blocks have the same upper word.
    """
    block = tl.arange(0, GROUPS)[:, None] * 16 + tl.arange(0, 16)[None, :]
    first_low, first_high = low_high(first_block)
    low = first_low + (block.to(tl.uint32) + zero)
    high = first_high
    if CARRY:
        high = first_high + (low < first_low).to(tl.uint32)
    return block_words(low, high, key_low, key_high, call_low, call_high)


@triton.jit
def lane_bits(w0, w1, w2, w3, lane: tl.constexpr):
    """A uint32 whose upper half is the lane 0 to 7 of each block; the lower half is for :func:`kept` to ignore."""
    word = w0 if lane // 2 == 0 else (w1 if lane // 2 == 1 else (w2 if lane // 2 == 2 else w3))
    return word if lane % 2 else word << 16


@triton.jit
def keep_limit(keep):
    """A threshold of 0 to 65,536 as the greatest upper half that is kept, and False where nothing is kept.

    A comparison with the threshold itself, shifted, could not keep everything: 65,536 has no 16 bits.
    """
    return ((keep.to(tl.uint64) << 16) - 1).to(tl.uint32), keep > 0


@triton.jit
def kept(bits, limit, alive):
    """The decisions of :func:`lane_bits` under :func:`keep_limit`; ``alive`` costs no instruction of its own."""
    return (bits <= limit) & alive


@triton.jit
def words_at(index, per_group: tl.constexpr, key_low, key_high, call_low, call_high):
    """The words of the block of each int64 index, one call an index: groups of 128 for lanes, of 64 for words."""
    block_low, block_high = low_high((index // per_group) * 16 + (index & 15))
    return block_words(block_low, block_high, key_low, key_high, call_low, call_high)


@triton.jit
def _selected(w0, w1, w2, w3, which):
    return tl.where(which < 2, tl.where(which == 0, w0, w1), tl.where(which == 2, w2, w3))


@triton.jit
def keep_at(index, limit, alive, key_low, key_high, call_low, call_high):
    """The keep decision of each non-negative int64 index, in any order: one call of Philox an index.

    For a mask's axis of which a tile holds whole, aligned groups, :func:`block_words` costs an eighth.
    """
    w0, w1, w2, w3 = words_at(index, 128, key_low, key_high, call_low, call_high)
    word = _selected(w0, w1, w2, w3, (index >> 5) & 3)
    bits = tl.where(((index >> 4) & 1) == 1, word, word << 16)
    return kept(bits, limit, alive)


@triton.jit
def word_at(index, key_low, key_high, call_low, call_high):
    """:func:`thinned.philox.words` of each non-negative int64 index: 32 bits."""
    w0, w1, w2, w3 = words_at(index, 64, key_low, key_high, call_low, call_high)
    return _selected(w0, w1, w2, w3, (index >> 4) & 3)
