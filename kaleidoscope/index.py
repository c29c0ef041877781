"""An index: a table that names the images, read instead of listing them; S3 Inventory's, too."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import numpy as np

from kaleidoscope.buckets import Tell
from kaleidoscope.entries import Entries, texts
from kaleidoscope.errors import RecipeError, StoreError, did_you_mean
from kaleidoscope.listing import Listing
from kaleidoscope.sources import Url, is_image, key_of_url
from kaleidoscope.storage import filesystem, is_local, store_errors
from kaleidoscope.urls import options_of, public, without_query

if TYPE_CHECKING:
    import pyarrow as pa
    from fsspec import AbstractFileSystem
    from numpy.typing import NDArray

_ENDINGS = (".parquet", ".csv", ".csv.gz")
_INVENTORY = "manifest.json"
#: Columns that may name the image where nobody says which does, the first that is there.
_KEYS = ("key", "url", "path")
#: Other columns that are of use, as `_plain` writes their names, S3 Inventory's among them.
_SIZE, _ETAG, _BUCKET, _LATEST, _DELETED = "size", "etag", "bucket", "islatest", "isdeletemarker"
#: Rows at a time.
_ROWS = 2**16


def is_index(url: Url) -> bool:
    """Whether a URL is, by its name, that of an index.

    Examples
    --------
    >>> is_index("s3://bucket/keys.parquet"), is_index("keys.csv.gz"), is_index("photos/"), is_index("a/manifest.json")
    (True, True, False, True)
    """
    name = public(os.fspath(url)).rstrip("/")
    return name.lower().endswith(_ENDINGS) or posixpath.basename(name) == _INVENTORY


def read_index(
    url: Url,
    *,
    key_column: str | None = None,
    root: Url | None = None,
    storage_options: Mapping[str, Any] | None = None,
    tell: Tell = lambda _: None,
) -> Listing:
    """Read which images there are from a table.

    Parameters
    ----------
    url : str or path
        A Parquet or CSV file with a header, a folder or glob of Parquet files, or S3 Inventory's ``manifest.json``.
    key_column : str, optional
        The column with a URL or path for each image; by default ``key``, ``url`` or ``path``. Paths are relative to
        `root`, else to the folder of the index. Columns ``size`` and ``etag`` are taken if they are there.
    root : str or path, optional
        What keys are relative to. Without it a path is the key, and of a URL what follows the scheme.
    storage_options : mapping, optional
        What fsspec needs to open the index and the images.
    tell : callable
        Is told how many more rows have been read.

    Returns
    -------
    Listing
        In the order of the index; of an inventory the images in the bucket, sorted as a listing of it would be.

    Raises
    ------
    StoreError
        If it cannot be read, or names no image.
    RecipeError
        If it has no such column, or a row without a key.
    """
    place = os.fspath(url)
    fs, path = filesystem(place, options_of(place, storage_options))
    with store_errors(f"read {place}"):
        table = _inventory(fs, path) if posixpath.basename(without_query(path)) == _INVENTORY else _table(fs, path)
        folder = None if table.is_inventory else _folder(table, root)
        several = [one for one in _entries(table, key_column, folder, tell, given_root=root is not None) if len(one)]
    if not several:
        raise StoreError(f"there are no images in {public(place)}: it has no row that names one")
    entries = Entries.joined(several)
    where = entries.urls if isinstance(entries.urls, str) else ""
    options = options_of(entries[0].url, storage_options)
    return Listing(entries.sorted() if table.is_inventory else entries, where.rstrip("/"), options)


def _folder(table: _Table, root: Url | None) -> str:
    """Return what paths are relative to."""
    if root is not None:
        return without_query(os.fspath(root)).rstrip("/")
    top = posixpath.dirname(without_query(table.top))
    return top if is_local(table.fs) else str(table.fs.unstrip_protocol(top))


@dataclass(frozen=True)
class _Table:
    """Where the rows are: files of one format, read a part at a time."""

    fs: AbstractFileSystem
    top: str
    files: Sequence[str]
    is_csv: bool
    names: Sequence[str] | None = None
    is_inventory: bool = False

    def columns(self) -> list[str]:
        """Return the names of the columns."""
        if self.names is not None:
            return list(self.names)
        with self.fs.open(self.files[0], "rb") as file:
            if self.is_csv:
                return list(self._csv(file, self.files[0], None).schema.names)
            import pyarrow.parquet as pq

            return list(pq.ParquetFile(file).schema_arrow.names)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows, of some columns, a part at a time."""
        for path in self.files:
            with self.fs.open(path, "rb") as file:
                if self.is_csv:
                    yield from self._csv(file, path, columns)
                else:
                    import pyarrow.parquet as pq

                    yield from pq.ParquetFile(file).iter_batches(_ROWS, columns=list(columns), use_threads=False)

    def _csv(self, file: Any, path: str, columns: Sequence[str] | None) -> Any:
        import pyarrow as pa
        from pyarrow import csv

        if without_query(path).endswith(".gz"):
            file = pa.CompressedInputStream(file, "gzip")
        wanted = None
        if columns is not None:
            wanted = csv.ConvertOptions(include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()))
        return csv.open_csv(
            file,
            read_options=csv.ReadOptions(column_names=self.names, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=wanted,
        )


def _table(fs: AbstractFileSystem, path: str) -> _Table:
    if any(wildcard in without_query(path) for wildcard in "*?["):
        files = sorted(fs.glob(path))
    elif fs.isdir(path):
        files = sorted(name for name in fs.find(path) if name.lower().endswith(_ENDINGS))
    else:
        files = [path]
    if not files:
        raise StoreError(f"cannot read {public(path)}: expected files that end in {', '.join(_ENDINGS)}, found none")
    kinds = {not without_query(name).lower().endswith(".parquet") for name in files}
    if len(kinds) > 1:
        raise RecipeError(f"{public(path)}: expected files of one format, got {files[0]!r} beside {files[-1]!r}")
    return _Table(fs, path, files, kinds.pop())


def _inventory(fs: AbstractFileSystem, path: str) -> _Table:
    """Return the table that a manifest of S3 Inventory tells of."""
    try:
        said = json.loads(fs.cat_file(path))
        kind, schema = said["fileFormat"], said["fileSchema"]
        target, keys = said["destinationBucket"].rpartition(":")[2], [file["key"] for file in said["files"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(f"{public(path)}: expected a manifest of S3 Inventory, got none ({error!r})") from None
    if kind not in {"CSV", "Parquet"}:
        raise RecipeError(f"{public(path)}: expected an inventory in CSV or Parquet, got {kind!r}")
    if is_local(fs):  # a copy, laid out as S3 lays it
        beside = posixpath.join(posixpath.dirname(posixpath.dirname(path)), "data")
        files = [posixpath.join(beside, posixpath.basename(key)) for key in keys]
    else:
        files = [f"{target}/{key}" for key in keys]
    names = [name.strip() for name in schema.split(",")] if kind == "CSV" else None
    return _Table(fs, path, files, kind == "CSV", names, is_inventory=True)


def _entries(
    table: _Table, key_column: str | None, folder: str | None, tell: Tell, *, given_root: bool
) -> Iterator[Entries]:
    """Yield the images as their rows are read: all rows as Python has them would be half a gigabyte a million."""
    names = table.columns()
    plain = {_plain(name): name for name in reversed(names)}
    key = _key_column(table, names, plain, key_column)
    if table.is_inventory and _BUCKET not in plain:
        raise RecipeError(f"{public(table.top)}: expected an inventory with the column Bucket, got {', '.join(names)}")
    wanted = (_SIZE, _ETAG, _BUCKET, _LATEST, _DELETED) if table.is_inventory else (_SIZE, _ETAG)
    used = {each: plain[each] for each in wanted if each in plain}
    before = 0
    for batch in table.batches([key, *used.values()]):
        columns = {each: batch[name].to_pylist() for each, name in used.items()}
        keys = batch[key].to_pylist()
        wrong = next((place for place, value in enumerate(keys) if not isinstance(value, str) or not value), None)
        if wrong is not None:
            raise RecipeError(f"row {before + wrong} of the index: expected an image's {key}, got {keys[wrong]!r}")
        before += len(keys)
        tell(len(keys))
        if folder is None:
            folder = f"s3://{columns[_BUCKET][0]}"
        if table.is_inventory:
            keys, columns = _in_a_listing(table, keys, columns, folder)
        sizes = _sizes(columns.get(_SIZE, [None] * len(keys)))
        etags = texts(str(etag or "").strip('"') for etag in columns.get(_ETAG, [""] * len(keys)))
        yield Entries(*_keys_and_urls(keys, folder, given_root=given_root), sizes, etags)


def _keys_and_urls(keys: list[str], folder: str, *, given_root: bool) -> tuple[Any, Any]:
    """Return the keys and URLs of what an index names: paths lie in a folder, URLs where they say."""
    start = f"{folder}/"
    are_paths = not any("://" in key or key.startswith("/") for key in keys)
    if are_paths and not start.startswith(("http://", "https://")):
        return texts(keys), start
    urls = [key if "://" in key or key.startswith("/") else start + key for key in keys]
    if not given_root and not are_paths:
        return texts(map(key_of_url, urls)), texts(urls)
    unsigned = [without_query(url) for url in urls]
    for url in unsigned:
        if not url.startswith(start):
            raise RecipeError(f"{public(url)} does not lie in the root {public(folder)}")
    return texts(url[len(start) :] for url in unsigned), start if unsigned == urls else texts(urls)


def _in_a_listing(
    table: _Table, keys: list[str], columns: Mapping[str, list[Any]], folder: str
) -> tuple[list[str], dict[str, list[Any]]]:
    """Return the rows of an inventory that a listing of the bucket would have: images, as they are now."""
    if table.is_csv:
        keys = [unquote_plus(key) for key in keys]
    keep = [is_image(key) for key in keys]
    for name, good in ((_LATEST, "true"), (_DELETED, "false")):
        if name in columns:
            keep = [kept and str(value).lower() == good for kept, value in zip(keep, columns[name], strict=True)]
    others = sorted({f"s3://{bucket}" for bucket in columns[_BUCKET]} - {folder})
    if others:
        raise RecipeError(f"{public(table.top)}: expected objects of one bucket, got {folder} and {others[0]}")
    return list(compress(keys, keep)), {name: list(compress(column, keep)) for name, column in columns.items()}


def _sizes(given: Sequence[Any]) -> NDArray[np.int64]:
    """Return bytes, -1 where a table says nothing; a column with gaps may have become one of floats."""
    try:
        values = np.array(given, np.float64)
    except ValueError:  # a text that is no number, or an empty one
        values = np.array([_number(size) for size in given])
    return np.where(np.isfinite(values), values, -1).astype(np.int64)


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return float("nan")


def _key_column(table: _Table, names: Sequence[str], plain: Mapping[str, str], wanted: str | None) -> str:
    where = public(table.top)
    if wanted is not None:
        if wanted not in names:
            raise RecipeError(
                f"{where} has no column {wanted!r}.{did_you_mean(wanted, names)} It has {', '.join(names)}"
            )
        return wanted
    found = next((plain[name] for name in _KEYS if name in plain), None)
    if found is None:
        raise RecipeError(
            f"{where}: expected a column {', '.join(_KEYS)}, got {', '.join(names)}: say key_column=, which of them "
            "names the images"
        )
    return found


def _plain(name: str) -> str:
    """Return a column's name without what CSV and Parquet inventories write differently: ``ETag`` and ``e_tag``."""
    return name.lower().replace("_", "")
