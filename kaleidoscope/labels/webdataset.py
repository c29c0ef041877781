"""Labels in the tar shards of a WebDataset: JSON and masks beside the image they belong to."""

from __future__ import annotations

import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kaleidoscope import settings
from kaleidoscope.archives import read_file
from kaleidoscope.codecs import MAX_PIXELS
from kaleidoscope.entries import Entry
from kaleidoscope.errors import RecipeError
from kaleidoscope.labels.masks import values_of
from kaleidoscope.listing import Listing
from kaleidoscope.members import Member
from kaleidoscope.targets import Targets
from kaleidoscope.urls import public

#: How a mask is called behind its sample's key, and what the mask is called where there are several.
_MASK = re.compile(r"mask(?:-(?P<name>[A-Za-z0-9_-]+))?\.png", re.IGNORECASE)
_JSON = "json"


@dataclass(frozen=True, slots=True)
class Sample:
    """What lies beside one image.

    Parameters
    ----------
    about : Entry, optional
        Its JSON.
    masks : mapping of str to Entry
        Its masks, by name.
    """

    about: Entry | None = None
    masks: Mapping[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True)
class WebDataset:
    """Labels in tar shards, beside their image: as ``views.write(url, layout="webdataset")`` writes them.

    Files of one folder whose names are the same up to the first dot are a sample: ``cat/1.jpg``, ``cat/1.json``,
    ``cat/1.mask.png``. Of the JSON the key ``objects`` is read, a list with a mapping for each object as
    `Targets.of_objects` takes it (``class, id, box, polygon, keypoints, visible``); ``mask.png`` and ``mask-NAME.png``
    are masks. Nothing else in a sample is a label that could move with the pixels: not a class of the whole image
    (``cls``), and no text.

    Examples
    --------
    >>> import kaleidoscope as ks
    >>> ks.read_images("shards/train-{000..009}.tar", labels=ks.labels.WebDataset())  # doctest: +SKIP
    """

    samples: Mapping[str, Sample] = field(default_factory=dict, repr=False, compare=False)
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    max_pixels: int | None = field(default=MAX_PIXELS, repr=False, compare=False)

    def listed(self, listing: Listing) -> tuple[WebDataset, set[str]]:
        """Return it with what lies beside each image, and the URLs of the masks: what is a mask is no image.

        Raises
        ------
        RecipeError
            If no image is in an archive with labels, or a sample with labels has two images.
        """
        samples: dict[str, Sample] = {}
        urls = set()
        for images, sample in _samples(listing):
            if sample.about is None and not sample.masks:
                continue
            if len(images) > 1:
                raise RecipeError(
                    f"labels: {images[0].key!r} and {images[1].key!r} are one sample by their names, and nobody knows "
                    "which of them its labels are of"
                )
            samples[images[0].key] = sample
            urls |= {mask.url for mask in sample.masks.values()}
        if not samples:
            raise RecipeError(
                f"labels: no image in {public(listing.root)} lies in an archive with a .json or a .mask.png of its name"
            )
        most = settings.value("max-pixels")
        return replace(self, samples=samples, storage_options=listing.storage_options, max_pixels=most), urls

    def part(self, keys: Sequence[str]) -> WebDataset:
        """Return the labels of these images."""
        return replace(self, samples={key: self.samples[key] for key in keys if key in self.samples})

    def mark(self, key: str) -> str:
        """Return the sizes and etags of what lies beside the image."""
        sample = self.samples.get(key, Sample())
        about = [] if sample.about is None else [(_JSON, sample.about)]
        return " ".join(f"{name} {e.size} {e.etag}" for name, e in [*about, *sorted(sample.masks.items())])

    def token(self) -> str:
        """Return what names it for Dask beside the marks."""
        return "webdataset"

    def mask_count(self) -> int:
        """Return how many masks that image has that has the most."""
        return max((len(sample.masks) for sample in self.samples.values()), default=0)

    def of(self, key: str) -> Targets | None:
        """Read what lies beside an image; None if that is no label.

        Raises
        ------
        StoreError, DecodeError, RecipeError
            If it cannot be read, or is not what it should be.
        """
        sample = self.samples.get(key, Sample())
        rows = None if sample.about is None else self._objects(sample.about)
        masks = {
            name: values_of(read_file(mask.url, self.storage_options), mask.key, self.max_pixels)
            for name, mask in sample.masks.items()
        }
        return None if rows is None and not masks else Targets.of_objects(rows or [], masks=masks)

    def _objects(self, about: Entry) -> list[Mapping[str, Any]] | None:
        try:
            said = json.loads(read_file(about.url, self.storage_options))
        except ValueError as error:
            raise RecipeError(f"{about.key} is no JSON: {error}") from None
        rows = said.get("objects") if isinstance(said, dict) else None
        if rows is not None and not isinstance(rows, list):
            raise RecipeError(f"{about.key}: expected a list as its objects, got {type(rows).__name__}")
        return rows


def _samples(listing: Listing) -> Iterator[tuple[list[Entry], Sample]]:
    """Yield the images of each sample in an archive, and what lies beside them."""
    images: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    masks: dict[tuple[str, str], dict[str, Entry]] = defaultdict(dict)
    for sample, end, entry in _in_archives(listing.entries):
        mask = _MASK.fullmatch(end)
        if mask is None:
            images[sample].append(entry)
        else:
            masks[sample][mask["name"] or "mask"] = entry
    about = {sample: entry for sample, end, entry in _in_archives(listing.beside) if end.lower() == _JSON}
    for sample, several in images.items():
        yield several, Sample(about.get(sample), masks.get(sample, {}))


def _in_archives(entries: Iterable[Entry]) -> Iterator[tuple[tuple[str, str], str, Entry]]:
    """Yield those that are members of archives: archive and key, which are the sample; the rest of the name; itself."""
    for entry in entries:
        member = Member.parse(entry.url)
        if member is not None:
            folder, base = posixpath.split(member.name)
            key, _, end = base.partition(".")
            yield (member.archive, posixpath.join(folder, key)), end, entry
