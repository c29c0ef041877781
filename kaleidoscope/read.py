"""A record's pixels: read from where it lies, decoded, checked; every way in ends here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kaleidoscope.codecs import decode
from kaleidoscope.errors import KaleidoscopeError, OpError, StoreError
from kaleidoscope.record import Frame, ImageRecord
from kaleidoscope.storage import read_url

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _read(url: str, storage_options: Mapping[str, Any], key: str) -> bytes:
    try:
        return read_url(url, storage_options)
    except StoreError as error:
        raise StoreError(error.message, key=key, step="read") from error


def load(record: ImageRecord, counts: Counter[str] | None = None) -> ImageRecord:
    """Return the record with its pixels; one that has them already comes back as it is.

    Raises
    ------
    StoreError, DecodeError, OpError
        If its source cannot be read or decoded, or it has neither pixels nor a source.
    """
    if record.pixels is not None:
        return record
    source = record.source
    if source is None:
        raise OpError("this record has neither pixels nor a source", key=record.key, step="read")
    data = _read(source.url, source.storage_options, record.key)
    pixels, metadata = decode(data, key=record.key)
    if counts is not None:
        counts["decode"] += 1
    if source.size is None:
        source = replace(source, size=len(data))
    return replace(record, pixels=pixels, metadata={**metadata, **record.metadata}, source=source)


def pixels_of(record: ImageRecord) -> NDArray[Any]:
    """Return a record's pixels, checked: shape (H, W, C) of a known dtype.

    Raises
    ------
    OpError
        If they are something else; a user's function may have made them.
    """
    if record.pixels is None:
        raise OpError("this record has no pixels", key=record.key, step="read")
    try:
        Frame.of(record.pixels)
    except KaleidoscopeError as error:
        raise OpError(error.message, key=record.key, step="read") from None
    return record.pixels
