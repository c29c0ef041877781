"""The way in: whatever a user hands over becomes a record, and a record gets its pixels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.codecs import MAX_PIXELS, decode
from kaleidoscope.errors import KaleidoscopeError, OpError, RecipeError, StoreError
from kaleidoscope.record import Frame, ImageRecord, Source
from kaleidoscope.sources import entry_of
from kaleidoscope.storage import read_url

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _read(url: str, storage_options: Mapping[str, Any], key: str) -> bytes:
    try:
        return read_url(url, storage_options)
    except StoreError as error:
        raise StoreError(error.message, key=key, step="read") from error


def load(
    record: ImageRecord, counts: Counter[str] | None = None, *, max_pixels: int | None = MAX_PIXELS
) -> ImageRecord:
    """Return the record with its pixels and its targets, which fit them.

    One that has failed before is not read anew: that would take the image as it was for what was to be made of it.

    Raises
    ------
    StoreError, DecodeError, OpError, RecipeError
        If its source cannot be read or decoded, it has neither pixels nor a source, or its labels do not fit.
    """
    if record.error is not None and record.pixels is None:
        raise record.error
    record = _with_pixels(record, counts, max_pixels)
    targets = record.targets
    if targets is None and record.labels is None:
        return record
    try:
        if targets is None and record.labels is not None:
            targets = record.labels.of(record.key)
        if targets is not None:
            height, width = pixels_of(record).shape[:2]
            targets = targets.fitted(width, height)
    except (Exception, SystemExit) as error:  # a function of the user's may raise anything, and must not end a worker
        kind, message = (
            (type(error), error.message)
            if isinstance(error, KaleidoscopeError)
            else (OpError, f"{type(error).__name__}: {error}")
        )
        raise kind(message, key=record.key, step="labels") from error
    return replace(record, targets=targets, labels=None)


def _with_pixels(record: ImageRecord, counts: Counter[str] | None, max_pixels: int | None) -> ImageRecord:
    if record.pixels is not None:
        return record
    source = record.source
    if source is None:
        raise OpError("this record has neither pixels nor a source", key=record.key, step="read")
    data = _read(source.url, source.storage_options, record.key)
    pixels, metadata = decode(data, key=record.key, max_pixels=max_pixels)
    if counts is not None:
        counts["decode"] += 1
        if metadata.get("pages", 1) > 1:
            counts["first_page"] += 1
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


def pages_of(record: ImageRecord) -> int | None:
    """Return how many pages or frames a record's file holds, of which the first was read; None if that is not known."""
    pages = record.metadata.get("pages", 1 if record.source is not None else None)
    return pages if type(pages) is int and 0 < pages < 2**31 else None


def as_record(item: object, root: str | None, storage_options: Mapping[str, Any]) -> ImageRecord:
    """Return an element of a bag as a record.

    Parameters
    ----------
    item : ImageRecord, str, path, or (str, ndarray)
        A record, a URL, or a key with pixels.
    root : str or None
        What a URL's key is relative to.
    storage_options : mapping
        What fsspec needs to open a URL.

    Raises
    ------
    RecipeError
        If it is something else.
    """
    match item:
        case ImageRecord():
            return item
        case str() | os.PathLike():
            entry = entry_of(os.fspath(item), root, storage_options)
            return ImageRecord(entry.key, source=Source(entry.url, entry.size, entry.etag, storage_options))
        case (str(key), np.ndarray() as pixels):
            return ImageRecord(key, pixels[..., np.newaxis] if pixels.ndim == 2 else pixels)
        case np.ndarray():
            raise RecipeError(
                "the arrays of a bag have no keys, which every draw depends on: make them (key, array) pairs, "
                "or pass a list of arrays"
            )
        case other:
            raise RecipeError(
                f"expected a URL, an ImageRecord or a (key, array) pair in the bag, got {type(other).__name__}"
            )
