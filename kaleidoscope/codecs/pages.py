"""How many pages or frames a file holds: one is read, and whoever asked for the image is told of the others."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from kaleidoscope.codecs.header import PNG_SIGNATURE


def count_pages(data: bytes, format: str) -> int:
    """Return how many pages (TIFF) or frames (GIF, WebP, PNG) a file holds, at least 1.

    Counted as far as the file goes: one that breaks off behind its first page has been read all the same. Reduced
    copies and masks of a TIFF are no pages. Takes time in proportion to the file, whatever its bytes say.

    Parameters
    ----------
    data : bytes
        The whole file.
    format : str
        What `kaleidoscope.codecs.header.format_of` said.

    Examples
    --------
    >>> count_pages(b"BM", "bmp")
    1
    """
    count = 0
    if format in _PAGES:
        try:
            for _ in _PAGES[format](data):
                count += 1
        except (struct.error, IndexError):  # it breaks off
            pass
    return max(count, 1)


# One generator per format: it yields once for each page, and lets out what reading past the end raises.


def _gif(data: bytes) -> Iterator[None]:
    position = 13 + _gif_colours(data[10])
    while data[position] != 0x3B:  # the trailer
        if data[position] == 0x2C:  # an image: place, size, flags, colours, code size
            yield
            position += 10 + _gif_colours(data[position + 9]) + 1
        elif data[position] == 0x21:  # an extension and its label
            position += 2
        else:
            return
        while data[position]:  # sub-blocks, each with its length
            position += data[position] + 1
        position += 1


def _gif_colours(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _png(data: bytes) -> Iterator[None]:
    position, framed, imaged = len(PNG_SIGNATURE), False, False
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name == b"IDAT" and not imaged:
            imaged = True
            if not framed:
                yield  # the picture for those that know no animation is not part of it
        if name == b"fcTL":
            framed = True
            yield
        position += 12 + length


def _webp(data: bytes) -> Iterator[None]:
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        if name == b"ANMF":
            yield
        position += 8 + length + length % 2


def _tiff(data: bytes) -> Iterator[None]:
    order = ">" if data.startswith(b"MM") else "<"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset, counted, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    (start,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    seen = set()
    while start and start not in seen:
        seen.add(start)
        (count,) = struct.unpack_from(order + counted, data, start)
        first = start + struct.calcsize("<" + counted)
        # NewSubfileType, the lowest tag, so the first of a directory: bit 0 is a reduced copy, bit 2 a mask.
        tag, _, _, kind = struct.unpack_from(order + ("HHQI" if big else "HHII"), data, first)
        if tag != 254 or not kind & 0b101:
            yield
        (start,) = struct.unpack_from(order + offset, data, first + count * size)


_PAGES: dict[str, Callable[[bytes], Iterator[None]]] = {"gif": _gif, "png": _png, "webp": _webp, "tiff": _tiff}
