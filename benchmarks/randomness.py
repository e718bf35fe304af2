"""Write the 16-bit lanes that decide elements 0, 1, 2, ... of one mask to standard output, for a test battery.

    python benchmarks/randomness.py | dieharder -a -g 200

With ``--calls``, one group of each of successive calls instead of one long mask.
"""

import sys

import numpy as np

from thinned import _native

KEY, GROUPS = 7, 1 << 14


def main() -> None:
    words = np.empty((GROUPS, 4, 16), dtype=np.uint32)
    per_call = "--calls" in sys.argv
    step = 0
    while True:
        if per_call:
            for g in range(GROUPS):
                _native.words(words[g].ctypes.data, 0, 1, KEY, step * GROUPS + g)
        else:
            _native.words(words.ctypes.data, step * GROUPS, GROUPS, KEY, 0)
        lanes = np.stack([words & 0xFFFF, words >> 16], axis=2).astype(np.uint16)  # group, word, half, block
        sys.stdout.buffer.write(lanes.tobytes())
        step += 1


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.stderr.close()  # the battery has read enough
