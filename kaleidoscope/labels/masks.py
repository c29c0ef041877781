"""Masks as files: a folder of images that are as large as those they belong to."""

from __future__ import annotations

import io
import os
import posixpath
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope import settings
from kaleidoscope.archives import read_file
from kaleidoscope.codecs import MAX_PIXELS, decode
from kaleidoscope.entries import Entry
from kaleidoscope.errors import DecodeError, RecipeError
from kaleidoscope.sources import Url, list_images
from kaleidoscope.targets import Targets
from kaleidoscope.urls import public

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Formats that may hold indices into a list of colours.
_WITH_PALETTES = ("png", "tiff", "gif", "bmp")


@dataclass(frozen=True)
class Masks:
    """A folder of masks, each called like its image but for the extension: ``cat/001.png`` is that of ``cat/001.jpg``.

    Parameters
    ----------
    url : str or path
        A folder or glob, local or any fsspec URL; it may be the images' own, where `suffix` tells masks from images.
    name : str
        What the mask is called: a part of the names of the files that are written.
    suffix : str
        What masks have after the stem of their image: ``_mask`` for ``001_mask.png``.
    storage_options : mapping, optional
        What fsspec needs to open it.

    Raises
    ------
    StoreError
        If there is no image there.
    RecipeError
        If two masks belong to one image.

    Examples
    --------
    >>> import kaleidoscope as ks
    >>> ks.read_images("photos", labels=ks.labels.Masks("masks"))  # doctest: +SKIP
    """

    url: Url
    name: str = "mask"
    suffix: str = ""
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    entries: Mapping[str, Entry] | None = field(default=None, repr=False, compare=False)
    root: str = field(default="", repr=False, compare=False)
    max_pixels: int | None = field(default=MAX_PIXELS, repr=False, compare=False)

    def listed(self) -> Masks:
        """Return it with every mask by the stem of its image's key; this is where the folder is listed."""
        listing = list_images(self.url, storage_options=self.storage_options)
        entries: dict[str, Entry] = {}
        for entry in listing.entries:
            stem = posixpath.splitext(entry.key)[0]
            if not stem.endswith(self.suffix):
                continue
            stem = stem.removesuffix(self.suffix)
            if stem in entries:
                raise RecipeError(f"two masks belong to {stem!r}: {public(entries[stem].url)} and {public(entry.url)}")
            entries[stem] = entry
        most = settings.value("max-pixels")
        return replace(
            self, entries=entries, storage_options=listing.storage_options, root=listing.root, max_pixels=most
        )

    def urls(self) -> set[str]:
        """Return where the masks lie: what is a mask is no image."""
        return {entry.url for entry in (self.entries or {}).values()}

    def check(self, keys: Iterable[str]) -> None:
        """Compare the masks with the images.

        Raises
        ------
        RecipeError
            If no image has one.

        Warns
        -----
        UserWarning
            If some have none.
        """
        entries = self.entries or {}
        keys = list(keys)
        where = public(os.fspath(self.url))
        without = [key for key in keys if _stem(key) not in entries]
        if len(without) == len(keys):
            first = repr(next(iter(entries.values())).key) if entries else "none that ends so"
            raise RecipeError(
                f"no image has a mask in {where}: expected one called {_stem(keys[0]) + self.suffix!r} with any "
                f"extension for {keys[0]!r}; there is {first}"
            )
        if without:
            warnings.warn(f"{len(without)} images have no mask in {where}, such as {without[0]!r}", stacklevel=4)

    def part(self, keys: Sequence[str]) -> Masks:
        """Return the masks of these images."""
        entries = self.entries or {}
        return replace(self, entries={s: entries[s] for s in map(_stem, keys) if s in entries})

    def mark(self, key: str) -> str:
        """Return the size and the etag of the image's mask."""
        entry = (self.entries or {}).get(_stem(key))
        return "" if entry is None else f"{self.name} {entry.size} {entry.etag}"

    def token(self) -> str:
        """Return what names it for Dask beside the marks."""
        return f"masks {self.name}"

    def mask_count(self) -> int:
        """Return 1."""
        return 1

    def of(self, key: str) -> Targets | None:
        """Read an image's mask.

        Raises
        ------
        StoreError, DecodeError
            If it cannot be read, or has colours and no values.
        """
        entry = (self.entries or {}).get(_stem(key))
        if entry is None:
            return None
        mask = values_of(read_file(entry.url, self.storage_options or {}), public(entry.url), self.max_pixels)
        return Targets(masks={self.name: mask})


def values_of(data: bytes, name: str, max_pixels: int | None = MAX_PIXELS) -> NDArray[Any]:
    """Return the values in the bytes of a mask, shape (H, W); of one with a palette, its indices.

    Raises
    ------
    DecodeError
        If it is no image, or one of several channels that differ.
    """
    pixels, metadata = decode(data, key=name, max_pixels=max_pixels)
    if metadata["format"] in _WITH_PALETTES:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as image:
            if image.mode == "P":  # the pixels are the palette's colours
                return np.array(image)
    if "offset" in metadata:  # signed values, moved up to be pixels
        values = pixels.astype(np.int64) + metadata["offset"]
        if values.min() < 0:
            raise DecodeError(f"expected a mask with values of at least 0, {name} has {values.min()}")
        pixels = values.astype(np.uint16)
    first = pixels[..., 0]
    if any(not np.array_equal(first, pixels[..., c]) for c in range(1, min(pixels.shape[2], 3))):
        raise DecodeError(
            f"expected a mask with one value for each pixel, in one channel or with a palette; {name} has "
            f"{pixels.shape[2]} channels that differ"
        )
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DecodeError(f"expected a mask as uint8 or uint16, {name} holds {pixels.dtype}")
    return np.ascontiguousarray(first)


def _stem(key: str) -> str:
    return posixpath.splitext(key)[0]
