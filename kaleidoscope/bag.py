"""Bags that stream: the one whose elements are images not read yet, and what is derived from it."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
from dask.bag import Bag, from_sequence
from dask.bag.core import Item
from dask.base import dont_optimize, replace_name_in_key, tokenize
from dask.context import globalmethod
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.threaded import get as threaded_get

from kaleidoscope import settings
from kaleidoscope.display import Counting
from kaleidoscope.errors import RecipeError
from kaleidoscope.following import active_client
from kaleidoscope.index import is_index, read_index
from kaleidoscope.labels import Masks, WebDataset
from kaleidoscope.labels.table import Several, labels_of, masks_in
from kaleidoscope.listing import KeyRuns, Listing, RunTasks, unpack
from kaleidoscope.optimize import layer_of, optimize
from kaleidoscope.preflight import before_sending, needs_of
from kaleidoscope.read import as_record
from kaleidoscope.sources import Url, list_images
from kaleidoscope.targets import Labels
from kaleidoscope.urls import public
from kaleidoscope.weights import decoded_bytes

#: Images in a partition that holds only keys.
_KEYS_PER_PARTITION = 100


class StreamingBag(Bag):
    """A bag whose partitions stream through fused tasks, annotations kept, on threads where there is no client.

    Threads, because OpenCV releases the GIL; ``dask.bag``'s default of processes would copy every image.
    """

    __dask_scheduler__ = staticmethod(threaded_get)
    __dask_optimize__ = globalmethod(optimize, key="kaleidoscope_optimize", falsey=dont_optimize)

    def __dask_postcompute__(self) -> Any:
        """Say how partitions become a list. Dask asks on the way to any scheduler: the time to have a look at that.

        Raises
        ------
        ResourceError
            If no worker has what a step needs; Dask would wait for one for ever.
        """
        _look(self)
        return super().__dask_postcompute__()

    def take(self, k: int, npartitions: int = 1, compute: bool = True, warn: bool = True) -> Any:  # noqa: FBT001, FBT002 - Dask's signature
        """Return the first `k` elements; see `dask.bag.Bag.take`."""
        bag = adopted(super().take(k, npartitions=npartitions, compute=False, warn=warn))
        return tuple(bag.compute()) if compute else bag

    def to_delayed(self, optimize_graph: bool = True) -> list[Delayed]:  # noqa: FBT001, FBT002 - Dask's signature
        """Return a `dask.delayed.Delayed` for each partition; see `dask.bag.Bag.to_delayed`."""
        _look_ahead(self)
        keys: list[Any] = self.__dask_keys__()
        graph = self.__dask_graph__()
        if optimize_graph:
            graph = _as_layers(self.__dask_optimize__(graph, keys), self.name)
        return [Delayed(key, graph, layer=layer_of(graph, key)) for key in keys]


class StreamingItem(Item):
    """One value out of a streaming bag, such as its count."""

    __dask_scheduler__ = staticmethod(threaded_get)
    __dask_optimize__ = globalmethod(optimize, key="kaleidoscope_optimize", falsey=dont_optimize)

    def __dask_postcompute__(self) -> Any:
        """Say how it becomes a value; see `StreamingBag`."""
        _look(self)
        return super().__dask_postcompute__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the name of its layer."""
        return StreamingItem, (self.dask, self.key, self._layer)

    def _rebuild(self, dsk: Any, *, rename: Mapping[str, str] | None = None) -> StreamingItem:
        return StreamingItem(dsk, replace_name_in_key(self.key, rename) if rename else self.key)

    def apply(self, func: Callable[[Any], Any]) -> StreamingItem:
        """Return the item of the function's result; see `dask.bag.Item.apply`."""
        item: StreamingItem = adopted(super().apply(func))
        return item

    def to_delayed(self, optimize_graph: bool = True) -> Delayed:  # noqa: FBT001, FBT002 - Dask's signature
        """Return it as a `dask.delayed.Delayed`."""
        _look_ahead(self)
        graph = self.__dask_graph__()
        if optimize_graph:
            graph = _as_layers(self.__dask_optimize__(graph, self.__dask_keys__()), self._layer)
        return Delayed(self.key, graph, layer=layer_of(graph, self.key))


def _look(collection: StreamingBag | StreamingItem) -> None:
    """Compare what a collection needs with what there is, where it would be computed now."""
    before_sending(needs_of(collection.dask), active_client(collection, None))


def _look_ahead(collection: StreamingBag | StreamingItem) -> None:
    """Do so where it is handed to Dask, which will not ask again; there may be no client yet."""
    if active_client(collection, None) is not None:
        _look(collection)


def _as_layers(graph: Any, name: str) -> HighLevelGraph:
    if isinstance(graph, HighLevelGraph):
        return graph
    return HighLevelGraph.from_collections(f"delayed-{name}", graph, dependencies=())


def adopted(result: Any) -> Any:
    """Return what a method of Dask's made as one of ours, so that it runs on threads and keeps its annotations."""
    if type(result) is Bag:
        return StreamingBag(result.dask, result.name, result.npartitions)
    if type(result) is Item:
        return StreamingItem(result.dask, result.key, result._layer)  # noqa: SLF001 - there is no other way to it
    if isinstance(result, tuple):
        return tuple(map(adopted, result))
    return result


def _adopting(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def adopting(*args: Any, **kwargs: Any) -> Any:
        return adopted(method(*args, **kwargs))

    return adopting


for _name in (
    "accumulate",
    "distinct",
    "foldby",
    "frequencies",
    "groupby",
    "join",
    "product",
    "reduction",
    "repartition",
    "topk",
    "unzip",
):  # what Dask makes with `Bag(...)` or `Item(...)` whatever it was called on
    setattr(StreamingBag, _name, _adopting(getattr(Bag, _name)))


class ImageBag(StreamingBag):
    """A lazy bag of `ImageRecord`s whose pixels are not read yet, as `kaleidoscope.read_images` returns it.

    What is derived from it (`map`, `filter`, ...) is a `StreamingBag`.

    Attributes
    ----------
    listing : Listing
        The images, as they were listed.
    partition_size : int or None
        Images in a partition, where the caller said so.
    """

    listing: Listing
    partition_size: int | None

    def __new__(
        cls, graph: Any, name: str, npartitions: int, listing: Listing | None = None, *_: Any, **__: Any
    ) -> Any:
        """Make a plain streaming bag where Dask derives one by ``type(self)(graph, name, npartitions)``."""
        return object.__new__(cls) if listing is not None else StreamingBag(graph, name, npartitions)

    def __init__(
        self, graph: Any, name: str, npartitions: int, listing: Listing, partition_size: int | None = None
    ) -> None:
        super().__init__(graph, name, npartitions)
        self.listing = listing
        self.partition_size = partition_size

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the listing."""
        return ImageBag, (self.dask, self.name, self.npartitions, self.listing, self.partition_size)

    def _rebuild(self, dsk: Any, *, rename: Mapping[str, str] | None = None) -> ImageBag:
        name = (rename or {}).get(self.name, self.name)
        return ImageBag(dsk, name, self.npartitions, self.listing, partition_size=self.partition_size)

    def __repr__(self) -> str:
        """Name the root and how many images."""
        where = f" in {public(self.listing.root)}" if self.listing.root else ""
        labelled = "" if self.listing.labels is None else "labelled "
        return f"ImageBag<{len(self.listing.entries)} {labelled}images{where}, npartitions={self.npartitions}>"

    __str__ = __repr__

    def with_targets(
        self, targets: Any, *, min_area: float = 0.0, min_visibility: float = 0.0, version: str = ""
    ) -> ImageBag:
        """Return the same images, labelled: what is labelled in them moves with their pixels.

        It takes the place of what an earlier call said; masks that were given as ``labels=`` stay.

        Parameters
        ----------
        targets : DataFrame, mapping or callable
            A table with a row for each object: ``key`` names the image; ``class`` and ``id`` the object; ``xmin, ymin,
            xmax, ymax`` (or ``box``, a list of the four), ``polygon`` and ``keypoints`` say where it is, in pixels, as
            `Targets` has them. An image without a row has no objects; one outside of its image is left out, and counted
            in the report. Or `Targets` by key; or a function of the key that returns them, or None, called at reading.
        min_area : float, square pixels
            An object of which less is left after a crop, a rotation, ... is dropped, with all that belongs to it.
        min_visibility : float
            The same by the share that is left, 0 to 1. One of which nothing is left is always dropped.
        version : str
            Of what a function says, which nobody can know without asking it: give another one when it says something
            else, so that a target that is there is made anew. Of a table each change is seen.

        Returns
        -------
        ImageBag

        Raises
        ------
        RecipeError
            If a label makes no sense, or none of them is of an image here.

        Warns
        -----
        UserWarning
            If some of them are of no image here.

        Examples
        --------
        >>> from kaleidoscope import samples, Targets
        >>> dataset = read_images(samples.folder())
        >>> dataset.with_targets({"rocket.jpg": Targets(boxes=[(300, 50, 350, 400)], classes=["rocket"])})
        ImageBag<6 labelled images in ..., npartitions=1>
        """
        keys = self.listing.entries.keys.tolist()
        labels: Labels = labels_of(targets, keys, min_area, min_visibility, version)
        masks = masks_in(self.listing.labels)
        return _bag_of(self.listing.labelled(Several((*masks, labels)) if masks else labels), self.partition_size)


def read_images(
    urls: Url | Iterable[Url],
    *,
    labels: Masks | WebDataset | Iterable[Masks | WebDataset] | None = None,
    root: Url | None = None,
    storage_options: Mapping[str, Any] | None = None,
    partition_size: int | None = None,
    key_column: str | None = None,
) -> ImageBag:
    """List images now and return a lazy bag of them; none is opened.

    Parameters
    ----------
    urls : str, path, or iterable of them
        A folder (with everything under it), a glob, one file, or a list of files; an archive (``photos.zip``, ``.tar``,
        ``.tar.gz``), several (``shards/train-{000..009}.tar``), or a folder that holds no images but archives; or an
        index that names the images: a table (``.parquet``, ``.csv``, ``.csv.gz``) or the ``manifest.json`` of an S3
        Inventory. Local or any fsspec URL.
    labels : label format, or several, optional
        What is labelled in them, such as ``ks.labels.Masks("masks")``, a folder of masks, or
        ``ks.labels.WebDataset()``, which are those in tar shards; see also `ImageBag.with_targets`.
    root : str or path, optional
        What keys are relative to. Without it: the folder; a glob's part before its first wildcard; one file's
        parent; the archive, and each of several archives; for a list of images, the URL without its scheme is the key.
    storage_options : mapping, optional
        What fsspec needs to open the URLs, such as ``{"anon": True}``.
    partition_size : int, optional
        Images in a partition.
    key_column : str, optional
        `urls` is an index, and this column of it has the images' URLs, or their paths relative to `root`, else to the
        index's own folder. By default ``key``, ``url`` or ``path``. Its columns ``size`` and ``etag``, where it has
        them, tell an image that has changed.

    Returns
    -------
    ImageBag

    Raises
    ------
    StoreError
        If there is nothing at `urls`, or no image.
    RecipeError
        If two images have the same key, or the labels are of none of them.

    Warns
    -----
    UserWarning
        If some images have no mask.

    Examples
    --------
    >>> from kaleidoscope import samples
    >>> [record.key for record in read_images(samples.folder()).take(2)]
    ['astronaut.jpg', 'brick.png']
    """
    if partition_size is not None and (type(partition_size) is not int or partition_size < 1):
        raise RecipeError(f"partition_size: expected a number of images of at least 1, got {partition_size!r}")
    with Counting("keys listed", settings.value("progress")) as counting:
        if isinstance(urls, str | os.PathLike) and (key_column is not None or is_index(urls)):
            options = storage_options
            listing = read_index(urls, key_column=key_column, root=root, storage_options=options, tell=counting.advance)
        elif key_column is not None:
            raise RecipeError(f"key_column={key_column!r}: expected one index with that column, got {urls!r}")
        else:
            listing = list_images(urls, root=root, storage_options=storage_options, tell=counting.advance)
    listing = listing if labels is None else _labelled(listing, labels)
    return _bag_of(replace(listing, beside=()), partition_size)


def _bag_of(listing: Listing, partition_size: int | None) -> ImageBag:
    runs = listing.runs(partition_size or _KEYS_PER_PARTITION)
    name = "images-" + tokenize(listing, partition_size)
    graph = HighLevelGraph.from_collections(name, RunTasks(name, runs, lambda run: (unpack, run)))
    return ImageBag(graph, name, len(runs), listing, partition_size=partition_size)


def _labelled(listing: Listing, labels: Masks | WebDataset | Iterable[Masks | WebDataset]) -> Listing:
    """Return the images with their labels; a mask that lies among the images is none of them."""
    several = [labels] if isinstance(labels, Masks | WebDataset | str | os.PathLike) else list(labels)
    masks: set[str] = set()
    found: list[Labels] = []
    for one in several:
        match one:
            case Masks():
                found.append(folder := one.listed())
                masks |= folder.urls()
            case WebDataset():
                beside, urls = one.listed(listing)
                found.append(beside)
                masks |= urls
            case other:
                raise RecipeError(
                    "labels: expected ks.labels.Masks(folder) or ks.labels.WebDataset(), got "
                    f"{other!r} ({type(other).__name__})"
                )
    images = np.array([entry.url not in masks for entry in listing.entries], bool)
    listing = replace(listing, entries=listing.entries.taken(images))
    if not len(listing.entries):
        raise RecipeError("labels: every one of these images is a mask: give Masks a suffix that tells them apart")
    folders = [one for one in found if isinstance(one, Masks)]
    if len({one.name.casefold() for one in folders}) < len(folders):
        raise RecipeError(f"labels: expected masks of different names, got {[one.name for one in folders]}")
    for folder in folders:
        folder.check(listing.entries.keys.tolist())
    return listing.labelled(found[0] if len(found) == 1 else Several(tuple(found)))


def runs_for(listing: Listing, outputs_per_image: int) -> KeyRuns:
    """Cut a listing so that what one partition returns stays within ``partition-bytes``, but for one image."""
    most: int = settings.value("partition-bytes")
    masks = 0 if listing.labels is None else listing.labels.mask_count()
    ends: list[int] = np.cumsum(decoded_bytes(listing.entries, masks) * outputs_per_image).tolist()
    bounds = [0]
    while bounds[-1] < len(ends):
        first = bounds[-1]
        before = ends[first - 1] if first else 0
        bounds.append(max(bisect_right(ends, before + most, lo=first), first + 1))
    return KeyRuns(listing, bounds)


def as_source(dataset: Any) -> ImageBag | Bag:
    """Return anything that `augment` takes as a bag."""
    if isinstance(dataset, Bag):
        bag: Bag = adopted(dataset)
        return bag
    if isinstance(dataset, str | os.PathLike):
        return read_images(dataset)
    if isinstance(dataset, np.ndarray) and dataset.ndim != 4:
        raise RecipeError(
            f"expected images, got one array of shape {dataset.shape}: pass a list of arrays, each of shape (H, W) or "
            "(H, W, C), or one of shape (N, H, W, C)"
        )
    if not isinstance(dataset, Iterable) or isinstance(dataset, Mapping):
        raise RecipeError(f"expected images, got {dataset!r} ({type(dataset).__name__})")
    items = list(dataset)
    if not items:
        raise RecipeError("expected images, got none")
    if all(isinstance(item, str | os.PathLike) for item in items):
        return read_images(items)
    named = [(f"{i:06d}", item) if isinstance(item, np.ndarray) else item for i, item in enumerate(items)]
    records = [as_record(item, None, {}) for item in named]
    twice = [key for key, times in Counter(record.key for record in records).items() if times > 1]
    if twice:
        raise RecipeError(f"two images have the key {twice[0]!r}: give each its own")
    in_memory: Bag = adopted(from_sequence(records, npartitions=min(len(records), 4 * (os.cpu_count() or 1))))
    return in_memory
