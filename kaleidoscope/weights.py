"""What images weigh once they are decoded, as far as their listing lets one guess."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kaleidoscope.entries import Entries

#: Decoded bytes for each encoded one, by extension; a guess to size partitions with, never more.
_INFLATION = {"jpg": 12, "jpeg": 12, "webp": 20, "png": 2}
_UNKNOWN_BYTES = 2**20


def decoded_bytes(entries: Entries, masks: int = 0) -> NDArray[np.int64]:
    """Guess the bytes of each image's pixels from those of its file, and of its masks: each a channel more."""
    names, times = np.strings.lower(entries.keys), np.ones(len(entries), np.int64)
    for ending, inflation in _INFLATION.items():
        times[np.strings.endswith(names, f".{ending}")] = inflation
    pixels = np.where(entries.sizes < 0, _UNKNOWN_BYTES, entries.sizes * times)
    return pixels * (3 + masks) // 3
