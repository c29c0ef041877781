"""Rows: what became of every variant of every image, as Parquet parts that are named by their block."""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaleidoscope.record import Step

if TYPE_CHECKING:
    import pyarrow as pa

    from kaleidoscope.pieces import Buffer

OK, FAILED = "ok", "failed"

#: Name and Parquet type of every column of the manifest, in order. `kaleidoscope.read_manifest` describes them.
COLUMNS = {
    "key": "string",
    "output": "string",
    "variant": "string",
    "status": "string",
    "error": "string",
    "step": "string",
    "params": "string",
    "seed": "int64",
    "recipe_id": "string",
    "width": "int32",
    "height": "int32",
    "channels": "int32",
    "dtype": "string",
    "bytes": "int64",
    "checksum": "int64",
    "source": "string",
    "source_size": "int64",
    "source_etag": "string",
    "source_pages": "int32",
    "environment": "string",
    "objects": "string",
    "masks": "string",
    "shard": "string",
    "others": "string",
}

#: Stands in a part's name for variants that differ from key to key.
SOME = "some"
#: The same, and nothing that older parts of its block say counts any more: all of the block was written anew.
ANEW = "anew"

_PART = re.compile(
    r"(?P<block>\d{8,})\.(?P<serial>\d{3,})\.(?P<inputs>[0-9a-f]{8})\.(?P<leaves>\w+)\.(?P<end>\w+)\.parquet"
)


@dataclass(frozen=True, slots=True, order=True)
class PartName:
    """What the name of a manifest part says, so that a listing tells what has been done.

    Parameters
    ----------
    block : int
        The block its rows belong to.
    serial : int
        Which part of the block; of two rows for one output the one in the higher part is the newer.
    inputs : str
        Digest of the block's keys, sizes and etags when it was written.
    leaves : str
        Digest of the variants it has of each of those keys, or ``some``, or ``anew``.
    failures : bool
        Whether rows in it have failed.
    """

    block: int
    serial: int
    inputs: str
    leaves: str
    failures: bool = False

    def __str__(self) -> str:
        """Write the file's name."""
        end = FAILED if self.failures else OK
        return f"{self.block:08d}.{self.serial:03d}.{self.inputs}.{self.leaves}.{end}.parquet"

    @classmethod
    def parse(cls, name: str) -> PartName | None:
        """Read a file's name; None if it is not a part's."""
        match = _PART.fullmatch(name)
        if match is None:
            return None
        block, serial = int(match["block"]), int(match["serial"])
        return cls(block, serial, match["inputs"], match["leaves"], match["end"] == FAILED)


def oldest_first(parts: Iterable[PartName]) -> list[PartName]:
    """Sort parts so that of two rows for one output the later counts.

    A task that ran twice may have left two parts of the same serial; the one without failures counts.
    """
    return sorted(parts, key=lambda part: (part.block, part.serial, not part.failures))


def that_count(parts: Iterable[PartName]) -> list[PartName]:
    """Return those parts of a block that count, oldest first: none from before it was written anew.

    Examples
    --------
    >>> several = [PartName(0, serial, "", leaves) for serial, leaves in enumerate([SOME, ANEW, SOME])]
    >>> [part.serial for part in that_count(several)]
    [1, 2]
    """
    ordered = oldest_first(parts)
    first = max((part.serial for part in ordered if part.leaves == ANEW), default=0)
    return [part for part in ordered if part.serial >= first]


@dataclass(slots=True, kw_only=True)  # frozen, its many fields would take three times as long to set
class Row:
    """One row of the manifest: what became of one variant of one image."""

    key: str
    variant: str
    params: str
    seed: int
    recipe_id: str
    source: str
    source_size: int | None
    source_etag: str
    environment: str
    status: str = FAILED
    output: str | None = None
    error: str | None = None
    step: str | None = None
    width: int | None = None
    height: int | None = None
    channels: int | None = None
    dtype: str | None = None
    bytes: int | None = None
    checksum: int | None = None
    source_pages: int | None = None
    objects: str | None = None
    masks: str | None = None
    shard: str | None = None
    others: str | None = None

    @property
    def files(self) -> list[str]:
        """The names of the objects that hold it: the output and its masks, or their shard."""
        return files_of(self.output, self.masks, self.shard)


def files_of(output: str | None, masks: str | None, shard: str | None = None) -> list[str]:
    """Return the names of the objects that hold what a row tells of, from its columns ``output, masks, shard``.

    Examples
    --------
    >>> files_of("a__original.jpg", '{"mask":"a__original.mask.png"}'), files_of(None, None)
    (['a__original.jpg', 'a__original.mask.png'], [])
    """
    if shard:
        return [shard]
    return [*([output] if output else []), *(json.loads(masks).values() if masks else [])]


def others_text(objects: Mapping[str, Buffer]) -> str:
    """Return the size and CRC-32 of what else holds an output as JSON: of masks by their names, or of its ``shard``.

    Examples
    --------
    >>> others_text({"mask": b"mask"})
    '{"mask":[4,2138030896]}'
    """
    told = {name: [len(data), zlib.crc32(data)] for name, data in objects.items()}
    return json.dumps(told, separators=(",", ":"), sort_keys=True)


def expected_of(row: Mapping[str, Any]) -> dict[str, tuple[int | None, int | None]]:
    """Return the objects that hold what a row tells of, each with its size and CRC-32, as far as they are known.

    Examples
    --------
    >>> expected_of({"output": "a.jpg", "bytes": 9, "checksum": 5, "masks": '{"mask":"a.png"}', "shard": None})
    {'a.jpg': (9, 5), 'a.png': (None, None)}
    """
    others = json.loads(row.get("others") or "{}")  # an older version's rows do not tell
    if shard := row.get("shard"):
        return {shard: tuple(others.get("shard", (None, None)))}
    masks = json.loads(row.get("masks") or "{}")
    known = {row["output"]: (row["bytes"], row["checksum"])} if row["output"] else {}
    return known | {file: tuple(others.get(name, (None, None))) for name, file in masks.items()}


def params_text(lineage: Iterable[Step]) -> str:
    """Return a chain of steps as JSON: node, op and what it drew, first to last."""
    return f"[{','.join(step.text for step in lineage)}]"


def to_parquet(rows: Sequence[object], columns: Mapping[str, str]) -> bytes:
    """Return the bytes of a Parquet file of rows, which have the columns as attributes.

    Equal rows give equal bytes, for one version of pyarrow.
    """
    return chunks_to_parquet({name: [[getattr(row, name) for row in rows]] for name in columns}, columns)


def chunks_to_parquet(
    chunks: Mapping[str, Iterable[Sequence[Any]]], columns: Mapping[str, str], method: str = "snappy"
) -> bytes:
    """Return the bytes of a Parquet file of columns in chunks; zstd makes it a third smaller, in three times the time.

    Equal values give equal bytes, whatever the chunks.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {name: pa.type_for_alias(kind) for name, kind in columns.items()}
    arrays = {name: pa.chunked_array([pa.array(c, t) for c in chunks[name]], t) for name, t in types.items()}
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays).combine_chunks(), buffer, compression=method)
    return buffer.getvalue()


def from_parquet(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """Return the table in the bytes of a Parquet file; of `columns` those it has, as an older version's lacks some."""
    import pyarrow.parquet as pq

    # Its own threads would come on top of the tasks', and one in a hundred processes that end early trip over them.
    return pq.ParquetFile(io.BytesIO(data), pre_buffer=False).read(columns=columns, use_threads=False)
