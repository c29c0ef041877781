"""Tables: the manifest as a Dask DataFrame."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kaleidoscope.errors import StoreError
from kaleidoscope.manifest import COLUMNS, PartName, from_parquet, that_count
from kaleidoscope.sources import RECORD_FOLDER, Url
from kaleidoscope.storage import Store
from kaleidoscope.target import PARTS, RUN_RECORD, bucket_is_missing

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd

#: Parts that one partition of the manifest is read from.
PARTS_PER_PARTITION = 200
#: What there is one row for.
_IDENTITY = ["key", "variant"]


def read_manifest(url: Url, *, storage_options: Mapping[str, Any] | None = None) -> dd.DataFrame:
    """Read what became of every variant of every image.

    Parameters
    ----------
    url : str or path
        The target of a `write`.
    storage_options : mapping, optional
        What fsspec needs to open it.

    Returns
    -------
    dask.dataframe.DataFrame
        Exactly one row per (key, variant), the newest: ``key, output`` (relative to `url`)``, variant, status`` (``ok``
        or ``failed``)``, error, step, params`` (the chain of ops with what each drew, as JSON)``, seed, recipe_id,
        width, height, channels, dtype, bytes, checksum`` (CRC-32)``, source, source_size, source_etag,
        source_pages`` (that the input holds: the first was taken)``, environment, objects`` (what is labelled in it, as
        JSON: see `kaleidoscope.Targets.of_objects`; missing where images have no labels)``, masks`` (the name of
        each mask and its file, as JSON)``, shard`` (the object that `output` and masks lie in; missing where each
        lies by itself) ``and others`` (size and CRC-32 of each mask by its name, or of the ``shard``, as JSON).

    Raises
    ------
    StoreError
        If nothing was written there.
    """
    import dask.dataframe as dd

    store = Store(str(url), storage_options)
    frame: dd.DataFrame = dd.from_map(read_parts, part_groups(store), store=store, meta=_frame([]))
    return frame


def part_groups(store: Store) -> list[list[PartName]]:
    """Return the parts of a target's manifest that count, in groups that are read together.

    A block stays whole, as only it can have two rows for one output. There is one group at least.

    Raises
    ------
    StoreError
        If nothing was written there.
    """
    record = store.read_if_there(RUN_RECORD)
    if record is None:
        raise StoreError(_why_none(store))
    if json.loads(record).get("deleting"):
        raise StoreError(f"{store.url} is being overwritten, or that was stopped halfway: write there again")
    by_block: dict[int, list[PartName]] = defaultdict(list)
    for name in store.list(PARTS):
        part = PartName.parse(name)
        if part is not None:
            by_block[part.block].append(part)
    groups: list[list[PartName]] = [[]]
    for _, parts in sorted(by_block.items()):
        if len(groups[-1]) + len(parts) > PARTS_PER_PARTITION and groups[-1]:
            groups.append([])
        groups[-1] += that_count(parts)
    return groups


def _why_none(store: Store) -> str:
    """Say what there is where no run record is."""
    if any(name.startswith(("inputs-", "lease-")) for name in store.list(RECORD_FOLDER)):
        return f"a run was started in {store.url} and has finished no block yet: repeat it"
    hint = "; there is not even its bucket: check the bucket's name" if bucket_is_missing(store) else ""
    return f"there is no manifest in {store.url}: expected the target of a write{hint}"


def read_parts(parts: Sequence[PartName], store: Store, columns: list[str] | None = None) -> pd.DataFrame:
    """Return the rows of some parts; Dask says which `columns` of them are wanted, where they are not all.

    Beside those of the manifest there is ``serial``: of the part that a row is from.
    """
    frame = _frame([store.read(f"{PARTS}/{part}") for part in parts], columns, [part.serial for part in parts])
    return frame if columns is None else frame[columns]


def _frame(
    parts: Sequence[bytes], columns: list[str] | None = None, serials: Sequence[int] | None = None
) -> pd.DataFrame:
    """Return the rows of some parts, the newest of those for the same output, in the order they were made."""
    import pandas as pd
    import pyarrow as pa

    wanted = COLUMNS if columns is None else dict.fromkeys(name for name in [*_IDENTITY, *columns] if name in COLUMNS)
    schema = pa.schema([(name, pa.type_for_alias(COLUMNS[name])) for name in wanted])
    read = [from_parquet(part, [*wanted]) for part in parts]
    if columns is not None and serials is not None and "serial" in columns:
        schema = schema.append(pa.field("serial", pa.int64()))
        numbers = (
            pa.repeat(pa.scalar(serial, pa.int64()), len(rows)) for rows, serial in zip(read, serials, strict=True)
        )
        read = [rows.append_column("serial", column) for rows, column in zip(read, numbers, strict=True)]
    table = pa.concat_tables([schema.empty_table(), *read], promote_options="default")
    kinds = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.string(): pd.StringDtype("pyarrow")}
    frame: pd.DataFrame = table.to_pandas(types_mapper=kinds.get)
    return frame.drop_duplicates(_IDENTITY, keep="last", ignore_index=True)
