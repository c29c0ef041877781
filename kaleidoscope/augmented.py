"""The bag of variants, and the door to it: what `kaleidoscope.augment` returns."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import psutil
from dask.bag.core import from_sequence
from dask.base import tokenize
from dask.utils import format_bytes

from kaleidoscope import settings
from kaleidoscope.augmentation import Augmentation
from kaleidoscope.bag import ImageBag, StreamingBag, as_source, runs_for
from kaleidoscope.codecs import Encoder
from kaleidoscope.display import ContactSheet, contact_sheet
from kaleidoscope.errors import RecipeError, did_you_mean
from kaleidoscope.estimate import Estimate
from kaleidoscope.flow import Flow
from kaleidoscope.job import Job, OnError
from kaleidoscope.layouts import Layout
from kaleidoscope.listing import Listing
from kaleidoscope.ops.combine import as_recipe
from kaleidoscope.plan import make_plan
from kaleidoscope.preflight import device_for
from kaleidoscope.prices import Prices
from kaleidoscope.read import as_record
from kaleidoscope.record import ImageRecord
from kaleidoscope.segment_graph import variants_graph
from kaleidoscope.sources import Url
from kaleidoscope.tree import grow
from kaleidoscope.weights import decoded_bytes
from kaleidoscope.writing import WriteRun

if TYPE_CHECKING:
    from dask.bag import Bag


class AugmentedBag(StreamingBag):
    """A lazy bag of the variants of each image, as `kaleidoscope.augment` returns it.

    It computes to a list of `ImageRecord`: dataset order, then tree order. What is derived from it (`map`, `filter`,
    ...) is a `StreamingBag`: one variant at a time goes through.

    Attributes
    ----------
    source : Listing or Bag
        The images.
    augmentation : Augmentation
        What is made of them.
    """

    source: Listing | Bag
    augmentation: Augmentation

    def __new__(cls, graph: Any, name: str, npartitions: int, source: Any = None, *_: Any) -> Any:
        """Make a plain streaming bag where Dask derives one by ``type(self)(graph, name, npartitions)``."""
        return object.__new__(cls) if source is not None else StreamingBag(graph, name, npartitions)

    def __init__(
        self, graph: Any, name: str, npartitions: int, source: Listing | Bag, augmentation: Augmentation
    ) -> None:
        super().__init__(graph, name, npartitions)
        self.source = source
        self.augmentation = augmentation

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with what it is made of."""
        return AugmentedBag, (self.dask, self.name, self.npartitions, self.source, self.augmentation)

    def _rebuild(self, dsk: Any, *, rename: Mapping[str, str] | None = None) -> AugmentedBag:
        name = (rename or {}).get(self.name, self.name)
        return AugmentedBag(dsk, name, self.npartitions, self.source, self.augmentation)

    def __repr__(self) -> str:
        """Name the number of variants."""
        images = f"{len(self.source.entries)} images" if isinstance(self.source, Listing) else "images of a bag"
        return f"AugmentedBag<{images} x {self.job.per_image} variants, npartitions={self.npartitions}>"

    __str__ = __repr__

    @property
    def job(self) -> Job:
        """What is made of each image."""
        return self.augmentation.job

    @property
    def variants(self) -> list[str]:
        """The names of the variants, in tree order."""
        return self.job.plan.tree.variants

    def explain(self) -> str:
        """Return the variant tree as it will be run: what is shared, what is one warp, what each step takes."""
        return self.job.plan.explain()

    def compute(self, **kwargs: Any) -> list[ImageRecord]:
        """Return all variants of all images, in memory.

        Parameters
        ----------
        **kwargs
            As for any Dask collection: ``scheduler="sync"``, ``optimize_graph=False``.

        Returns
        -------
        list of ImageRecord
            Dataset order, then tree order. A variant that failed has no ``pixels`` but an ``error``.

        Warns
        -----
        ResourceWarning
            If they will probably not fit into the memory that is free.
        """
        if isinstance(self.source, Listing):
            need = int(decoded_bytes(self.source.entries).sum()) * self.job.per_image
            free = psutil.virtual_memory().available
            if need > free:
                warnings.warn(
                    f"these variants take about {format_bytes(need)}, and {format_bytes(free)} are free: use "
                    ".write(url), or .map(f) with a function that returns something small",
                    ResourceWarning,
                    stacklevel=2,
                )
        records: list[ImageRecord] = super().compute(**kwargs)
        return records

    def sample(self, n: int) -> AugmentedBag:
        """Return a bag of `n` variants of each image, drawn for each image; more of them include fewer.

        Raises
        ------
        RecipeError
            If `n` is not a whole number of at least 1.
        """
        if type(n) is not int or n < 1:
            raise RecipeError(f"sample(n={n!r}): expected how many variants of each image, at least 1, got {n!r}")
        return _augmented(self.source, replace(self.augmentation, job=replace(self.job, picks=n)))

    def preview(self, n: int = 4, *, variants: int = 8) -> ContactSheet:
        """Make some variants of the first images, now, and show them with their labels; nothing is written.

        Parameters
        ----------
        n : int
            Images.
        variants : int
            Of each, spread evenly over the tree.

        Returns
        -------
        ContactSheet
            Shows itself in a notebook; ``.save(path)`` writes a PNG; ``.errors`` say why something is crossed out.

        Raises
        ------
        RecipeError
            If a number is not a whole number of at least 1.

        Warns
        -----
        UserWarning
            If something could not be made, with the reason.
        """
        for name, value in (("n", n), ("variants", variants)):
            if type(value) is not int or value < 1:
                raise RecipeError(f"preview({name}={value!r}): expected a whole number of at least 1, got {value!r}")
        names = self.variants
        count = min(variants, len(names))
        shown = tuple(names[round(i * (len(names) - 1) / max(count - 1, 1))] for i in range(count))
        augmentation = replace(self.augmentation, job=replace(self.job, picks=None, only=shown))
        first = self._first(n)
        made = _augmented(from_sequence(first, partition_size=1), augmentation).compute() if first else []
        rows: dict[str, list[tuple[Any, ...]]] = {record.key: [] for record in first}
        for record in made:
            rows[record.key].append((record.variant, record.pixels, record.targets))
        sheet = contact_sheet(list(rows.items()), columns=count)
        errors = tuple(dict.fromkeys(str(record.error) for record in made if record.error is not None))
        if errors:
            more = f", and {len(errors) - 1} errors more" if len(errors) > 1 else ""
            warnings.warn(f"some of it could not be made: {errors[0]}{more}", stacklevel=2)
        return replace(sheet, errors=errors)

    def _first(self, n: int) -> list[ImageRecord]:
        if isinstance(self.source, Listing):
            return replace(self.source, entries=self.source.entries[:n]).records()
        bag, partitions = self.source, 1
        found = bag.take(n, npartitions=1, warn=False)
        while len(found) < n and partitions < bag.npartitions:
            partitions = min(4 * partitions, bag.npartitions)
            found = bag.take(n, npartitions=partitions, warn=False)
        return [as_record(item, self.augmentation.root, self.augmentation.storage_options) for item in found]

    def estimate(
        self,
        url: Url,
        *,
        images: int | None = None,
        probe: bool = False,
        prices: Prices | Url | None = None,
        **write_options: Any,
    ) -> Estimate:
        """Return what a write of every variant would come to: outputs, bytes, time, and requests and their price.

        Some images, from the smallest file to the largest, are made for a second, on all threads of the active client
        or else here. Nothing is written. What is in the target already is left out, as a write would leave it.

        Parameters
        ----------
        url : str or path
            The target.
        images : int, optional
            How many are made; by default as many as it takes to see.
        probe : bool
            Ask the target how long it takes to answer, by some hundred requests, and reckon with it.
        prices : str, path or kaleidoscope.prices.Prices, optional
            A table of what an object store takes, like ``kaleidoscope/prices.toml``, the default, of the day it says.
        **write_options
            As for `write`.

        Returns
        -------
        Estimate
            The disk's own time is not in it.

        Raises
        ------
        RecipeError
            As `write`, and if `images` is no whole number of at least 1.
        """
        return self.write(url, **write_options).estimate(images=images, probe=probe, prices=prices)

    def write(
        self,
        url: Url,
        *,
        format: str = "jpg",
        quality: int = 95,
        layout: str = "files",
        shard_bytes: int | str | None = None,
        overwrite: bool = False,
        only_failed: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> WriteRun:
        """Return the lazy write of every variant to a folder or bucket; ``.compute()`` does it.

        A run that was stopped anywhere goes on where it stopped; one that is repeated finds everything there. New
        images and ops added at the end of the recipe extend what is there.

        Parameters
        ----------
        url : str or path
            The target: a folder or any fsspec URL.
        format : str
            ``jpg``, ``png``, ``webp``, ``tiff`` or ``npy``. An image that it cannot hold (16 bit as ``jpg``) is a
            failed row in the manifest, never converted silently.
        quality : int
            Of ``jpg`` and ``webp``, 1 to 100.
        layout : str
            ``files``; ``webdataset``: tar shards; ``parquet``: tables with an image in each row.
        shard_bytes : int or str, optional
            What a shard holds at most, such as ``"256 MiB"``, the default.
        overwrite : bool
            Delete first what the manifest of the target lists.
        only_failed : bool
            Try again what has failed in the target, and make nothing else: no new images, no new variants.
        storage_options : mapping, optional
            What fsspec needs to open the target; by default what the source was opened with.

        Returns
        -------
        WriteRun
            A Dask collection; computes to a `Report`.

        Raises
        ------
        RecipeError
            For an unknown format, quality or layout, two images with the same outputs, or a target equal to or inside
            the source.
        """
        job = replace(self.job, encoder=Encoder(format, quality=quality), layout=Layout(layout, shard_bytes))
        return WriteRun(
            self.source,
            replace(self.augmentation, job=job),
            os.fspath(url),
            storage_options=storage_options,
            overwrite=overwrite,
            only_failed=only_failed,
        )


@overload
def augment(
    dataset: Any, ops: Any, to: None = None, *, seed: int = 0, on_error: OnError = "record", device: str = "cpu"
) -> AugmentedBag: ...


@overload
def augment(
    dataset: Any,
    ops: Any,
    to: Url,
    *,
    seed: int = 0,
    on_error: OnError = "record",
    device: str = "cpu",
    **write_options: Any,
) -> WriteRun: ...


def augment(
    dataset: Any,
    ops: Any,
    to: Url | None = None,
    *,
    seed: int = 0,
    on_error: OnError = "record",
    device: str = "cpu",
    **write_options: Any,
) -> AugmentedBag | WriteRun:
    """Return the lazy bag of the variants of each image; with `to`, the lazy write of them.

    Parameters
    ----------
    dataset : ImageBag, Bag, URL, list of URLs, or arrays
        The images. Elements of a `dask.bag.Bag` are URLs, `ImageRecord`s or (key, array) pairs; arrays have shape
        (H, W) or (H, W, C), RGB.
    ops : list, op or combinator
        A list is a power set: every op on or off, in order, so that 6 ops give 64 variants.
    to : str or path, optional
        Where to write; see `AugmentedBag.write`, which takes the `write_options`.
    seed : int
        Another seed gives other draws; the same one gives the same bytes, however the work is spread.
    on_error : str
        ``record``: an image that fails is rows in the manifest, the others go on. ``raise``: it ends the run.
    device : str
        ``cpu``; ``gpu``: what can runs on workers that are labelled GPU, or on this machine's; ``auto``: there if there
        are any now, else on the CPU, which is said.

    Returns
    -------
    AugmentedBag or WriteRun

    Raises
    ------
    RecipeError
        For a dataset, recipe, seed, option or setting that makes no sense.

    Examples
    --------
    >>> from kaleidoscope import ops, samples
    >>> augment(samples.folder(), [ops.HorizontalFlip(), ops.Rotate(limit=15)], seed=7)
    AugmentedBag<6 images x 4 variants, npartitions=1>
    """
    if type(seed) is not int or not -(2**63) <= seed < 2**63:
        raise RecipeError(f"seed: expected a whole number of at most 64 bits, got {seed!r}")
    if on_error not in {"record", "raise"}:
        raise RecipeError(f"on_error: expected 'record' or 'raise', got {on_error!r}")
    if to is None and write_options:
        of_write = [*inspect.signature(AugmentedBag.write).parameters][2:]
        unknown = [name for name in write_options if name not in of_write]
        if unknown:
            hint = did_you_mean(unknown[0], ["seed", "on_error", "device", "to", *of_write])
            raise RecipeError(f"augment has no option {unknown[0]!r}.{hint}")
        raise RecipeError(f"{', '.join(write_options)}: what to do with it is only known with to=URL")
    max_pixels = settings.value("max-pixels")
    plan = make_plan(grow(as_recipe(ops)), device_for(device))
    batch_bytes = settings.value("device-batch-bytes")
    job = Job(plan, seed, on_error=on_error, max_pixels=max_pixels, batch_bytes=batch_bytes)
    options = getattr(getattr(dataset, "listing", None), "storage_options", {})
    if isinstance(dataset, AugmentedBag):
        raise RecipeError(
            "these are variants already, and several of them have the same key: put all ops into one recipe, such as "
            "Sequential(PowerSet(...), Repeat(...))"
        )
    views = _augmented(as_source(dataset), Augmentation(job, None, options, Flow.as_set().reads))
    return views if to is None else views.write(to, **write_options)


def _augmented(source: ImageBag | Bag | Listing, augmentation: Augmentation) -> AugmentedBag:
    """Build the bag of variants; keys-only sources are cut anew, so that a partition's variants fit into memory."""
    size = None
    if isinstance(source, ImageBag):
        size, source = source.partition_size, source.listing
    partitions: Sequence[Any]
    below: list[Any] = []
    if isinstance(source, Listing):
        partitions = source.runs(size) if size else runs_for(source, augmentation.job.per_image)
    else:
        partitions, below = source.__dask_keys__(), [source]
    name = "variants-" + tokenize(source, augmentation, len(partitions))
    graph = variants_graph(name, augmentation, partitions, below)
    return AugmentedBag(graph, name, len(partitions), source, augmentation)
