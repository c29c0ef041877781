"""The way in: whatever a user hands over becomes a record, and a record gets its pixels."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.archives import read_file
from kaleidoscope.codecs import MAX_PIXELS, decode, look
from kaleidoscope.errors import KaleidoscopeError, OpError, RecipeError, StoreError
from kaleidoscope.log import tell
from kaleidoscope.record import Frame, ImageRecord, Source
from kaleidoscope.sources import entry_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

#: Returns the bytes at a URL; `read_file`, or what has fetched them ahead.
Read = Callable[[str, Mapping[str, Any]], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The pixels of an image, made as large as they are wanted: a JPEG may be decoded smaller than it is.

    Parameters
    ----------
    frame : Frame
        Of the whole image, upright.
    at : callable
        Returns the pixels, shape (H, W, C), so many times smaller as it is told; raises `DecodeError`.
    reductions : tuple of int
        What `at` takes beside 1, most first.
    """

    frame: Frame
    at: Callable[[int], NDArray[Any]]
    reductions: tuple[int, ...] = ()

    @classmethod
    def of(cls, pixels: NDArray[Any]) -> Picture:
        """Return the picture of pixels that are there."""
        return cls(Frame.of(pixels), lambda _: pixels)

    def reduction(self, most: int) -> int:
        """Return the largest reduction that it has and that is at most `most`."""
        return next((by for by in self.reductions if by <= most), 1)


def _read(source: Source, key: str, read: Read) -> bytes:
    try:
        return read(source.url, source.storage_options)
    except StoreError as error:
        raise StoreError(error.message, key=key, step="read") from error


def load(
    record: ImageRecord,
    counts: Counter[str] | None = None,
    *,
    max_pixels: int | None = MAX_PIXELS,
    read: Read = read_file,
) -> tuple[ImageRecord, Picture]:
    """Return the record with its targets, and the picture that they fit.

    One that has failed before is not read anew: that would take the image as it was for what was to be made of it.
    `read` returns the bytes at a URL.

    Raises
    ------
    StoreError, DecodeError, OpError, RecipeError
        If its source cannot be read or decoded, it has neither pixels nor a source, or its labels do not fit.
    """
    if record.error is not None and record.pixels is None:
        raise record.error
    counts = Counter() if counts is None else counts
    if record.pixels is None:
        record, picture = _opened(record, counts, max_pixels, read)
    else:
        picture = Picture.of(pixels_of(record))
    return _labelled(record, picture.frame, counts), picture


def _labelled(record: ImageRecord, frame: Frame, counts: Counter[str]) -> ImageRecord:
    targets, outside = record.targets, 0
    if targets is None and record.labels is None:
        return record
    try:
        if targets is None and record.labels is not None:
            targets = record.labels.of(record.key)
        if targets is not None:
            targets, outside = targets.fitted(frame.width, frame.height)
    except (Exception, SystemExit) as error:  # a function of the user's may raise anything, and must not end a worker
        kind, message = (
            (type(error), error.message)
            if isinstance(error, KaleidoscopeError)
            else (OpError, f"{type(error).__name__}: {error}")
        )
        raise kind(message, key=record.key, step="labels") from error
    if outside:
        counts["outside"] += outside
        objects = f"{outside} object{'s lie' if outside > 1 else ' lies'}"
        words = f"{record.key}: labels: {objects} outside of its {frame.width}x{frame.height} pixels"
        tell(_log, logging.WARNING, words, key=record.key, step="labels")
    return replace(record, targets=targets, labels=None)


def _opened(
    record: ImageRecord, counts: Counter[str], max_pixels: int | None, read: Read
) -> tuple[ImageRecord, Picture]:
    """Read what a record is to be made of; what can be decoded smaller is decoded when somebody says how small."""
    source, key = record.source, record.key
    if source is None:
        raise OpError("this record has neither pixels nor a source", key=key, step="read")
    data = _read(source, key, read)
    seen = look(data, key=key, max_pixels=max_pixels)
    if seen is None:
        pixels, metadata = decode(data, key=key, max_pixels=max_pixels)
        counts["decode"] += 1
        picture = Picture.of(pixels)
        if metadata.get("pages", 1) > 1:
            counts["first_page"] += 1
    else:
        frame, reductions, metadata = seen

        def at(reduction: int) -> NDArray[Any]:
            pixels, _ = decode(data, key=key, max_pixels=max_pixels, reduction=reduction)
            counts["decode"] += 1
            if reduction > 1:
                counts[f"decode_{reduction}"] += 1
            return pixels

        picture = Picture(frame, at, reductions)
    if source.size is None:
        source = replace(source, size=len(data))
    return replace(record, metadata={**metadata, **record.metadata}, source=source), picture


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
