"""Making one output again from its row in the manifest."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope import settings
from kaleidoscope.archives import archives_in, is_archive
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.entries import Entry
from kaleidoscope.errors import OpError, RecipeError, StoreError
from kaleidoscope.job import environment
from kaleidoscope.ops.combine import Sequential
from kaleidoscope.plan import make_plan
from kaleidoscope.read import load
from kaleidoscope.recipe import from_spec
from kaleidoscope.record import ImageRecord, Source
from kaleidoscope.sources import entry_of, list_images
from kaleidoscope.storage import filesystem
from kaleidoscope.tree import grow
from kaleidoscope.urls import public
from kaleidoscope.walk import walk

if TYPE_CHECKING:
    from numpy.typing import NDArray


def replay(row: Mapping[str, Any], source: Any = None, *, allow_functions: bool = False) -> NDArray[Any]:
    """Make one output's pixels again, from what its row says was drawn.

    Parameters
    ----------
    row : mapping
        A row of the manifest: a `pandas.Series` or a dict with ``key``, ``variant``, ``params`` and the rest.
    source : optional
        Where the input lies now: its own URL, the folder, bucket or archive it is in, an `ImageRecord`, or its pixels.
        By default where it lay when the output was made. Pixels are the whole image: where the output was made of a
        JPEG decoded at 1/2 or less, they give what differs from it by up to 2 levels on average.
    allow_functions : bool
        Whether a row may name functions, as ``Apply`` does: they are imported.

    Returns
    -------
    ndarray of shape (H, W, C)
        Before encoding; the same pixels bit for bit on the same kind of device with the same library versions.

    Raises
    ------
    RecipeError
        If the row is no row of a manifest, or names an op that is not there.
    StoreError, DecodeError, OpError
        If the input cannot be read, or the op fails, as it did when the row says ``failed``.

    Warns
    -----
    UserWarning
        If the input, or what the pixels depend on beside it, is not what it was.
    """
    if hasattr(row, "columns"):
        raise RecipeError(f"expected one row of a manifest, got a whole {type(row).__name__}: pick one with .iloc[i]")
    try:
        key, seed, steps = str(row["key"]), int(row["seed"]), json.loads(row["params"])
        ops = [from_spec(step["op"], allow_functions=allow_functions) for step in steps]
        drawn = [step["params"] for step in steps]
        decoded_at = steps[0].get("reduction", 1) if steps else 1  # what was given as pixels was whole
        _ = row["source"], row["source_size"], row["environment"]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"expected a row of a manifest, got {row!r}: {error!r}") from error
    record, picture = load(_input(row, key, source), max_pixels=settings.value("max-pixels"))
    picture = replace(picture, reductions=tuple(by for by in picture.reductions if by == decoded_at))
    _warn_of_changes(row, record)
    plan = make_plan(grow(Sequential(*ops)))
    nodes = [planned.node for planned in plan.root.below() if planned.node.op is not None]
    draws = {node.name: params for node, params in zip(nodes, drawn, strict=True)}
    outcome = next(walk(plan, picture, key=key, seed=seed, backend=Cv2Backend(), draws=draws))
    if outcome.error is not None or outcome.pixels is None:
        raise outcome.error or OpError("no pixels came out", key=key)
    return outcome.pixels.copy()


def _input(row: Mapping[str, Any], key: str, source: Any) -> ImageRecord:
    match source:
        case ImageRecord():
            return source
        case np.ndarray():
            return ImageRecord(key, source[..., np.newaxis] if source.ndim == 2 else source)
        case None:
            if not isinstance(row["source"], str) or not row["source"]:
                raise RecipeError("this image had no URL of its own: pass source=, its pixels", key=key)
            entry = entry_of(row["source"], None, {})
        case str() | os.PathLike():
            entry = _image_at(os.fspath(source), key)
        case other:
            raise RecipeError(f"source: expected a URL, an ImageRecord or pixels, got {type(other).__name__}")
    return ImageRecord(key, source=Source(entry.url, entry.size, entry.etag))


def _image_at(url: str, key: str) -> Entry:
    """Return the entry of the image with a key in a folder or in archives; of another URL, that of itself.

    In an archive it may also be called as the end of the key says: the archive's name is no part of a member's.

    Raises
    ------
    StoreError
        If no archive there has it.
    """
    fs, path = filesystem(url)
    folder = fs.isdir(path)
    own = f"{url.rstrip('/')}/{key}" if folder else url
    if not is_archive(url) and not (folder and not fs.exists(f"{path}/{key}") and archives_in(fs, path)):
        return entry_of(own, None, {})
    found = [entry for entry in list_images(url).entries if f"/{key}".endswith(f"/{entry.key}")]
    if not found:
        raise StoreError(f"there is no image {key!r} in {public(url)}")
    return max(found, key=lambda entry: len(entry.key))


def _warn_of_changes(row: Mapping[str, Any], record: ImageRecord) -> None:
    size, before = record.source.size if record.source else None, _whole(row["source_size"])
    if None not in (size, before) and size != before:
        warnings.warn(
            f"{record.key} has {size} bytes now and had {before} when this output was made",
            stacklevel=3,
        )
    if row["environment"] != environment():
        warnings.warn(
            f"this output was made with {row['environment']}, and here is {environment()}: pixels may differ",
            stacklevel=3,
        )


def _whole(value: Any) -> int | None:
    """Return a number of a table, where a missing one may be None, NaN or `pandas.NA`."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
