"""What an image weighs once it is decoded, as far as its listing lets one guess."""

from __future__ import annotations

from kaleidoscope.sources import Entry, extension

#: Decoded bytes for each encoded one, by extension; a guess to size partitions with, never more.
_INFLATION = {"jpg": 12, "jpeg": 12, "webp": 20, "png": 2}
_UNKNOWN_BYTES = 2**20


def decoded_bytes(entry: Entry, masks: int = 0) -> int:
    """Guess the bytes of an image's pixels from those of its file, and of its masks: each a channel more."""
    pixels = _UNKNOWN_BYTES if entry.size is None else entry.size * _INFLATION.get(extension(entry.key), 1)
    return pixels * (3 + masks) // 3
