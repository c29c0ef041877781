"""Shards: many outputs in one object, with their labels, as a training job reads them."""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

from isal.isal_zlib import crc32

from kaleidoscope.layouts import Layout, ShardName
from kaleidoscope.manifest import PartName, Row
from kaleidoscope.pieces import pieces_of, size_of
from kaleidoscope.sinks import MASK_FORMAT, mask_name, sample_name

if TYPE_CHECKING:
    import pyarrow as pa

    from kaleidoscope.pieces import Buffer, Content
    from kaleidoscope.write_behind import WriteBehind

#: Rows of a Parquet shard that are read together: as many as Hugging Face's `datasets` writes of images.
_ROWS_IN_GROUP = 100
#: And their bytes at most, beside which the shard so far is all that is held.
_BYTES_IN_GROUP = 2**24
#: A tar file is made of blocks, and ends in two empty ones.
_TAR_BLOCK = tarfile.BLOCKSIZE
_TAR_END = bytes(2 * _TAR_BLOCK)
#: A header with mode 0644, and 0 or nothing for user, group and time; without name, size and checksum.
_PLAIN = tarfile.TarInfo().tobuf(tarfile.PAX_FORMAT)
_AFTER_NAME, _AFTER_SIZE, _AFTER_CHECKSUM = _PLAIN[100:124], _PLAIN[136:148], _PLAIN[156:]
#: What its checksum begins with: the checksum itself counts as blanks.
_PLAIN_SUM = sum(_AFTER_CHECKSUM) + sum(b" " * 8)
#: What such a header can say: sizes of 11 octal digits.
_LONGEST_NAME, _LARGEST_MEMBER = 100, 8**11 - 1
#: Formats that PIL, and so `datasets`, cannot open.
_NO_IMAGE = frozenset({"npy"})


class Shards(ABC):
    """Takes the outputs of one block, and writes a shard as soon as one is full; a `Sink`.

    Parameters
    ----------
    writer : WriteBehind
        Takes the shards.
    layout : Layout
        How large one may be.
    part : PartName
        Of the manifest, which will say that they count.
    """

    def __init__(self, writer: WriteBehind, layout: Layout, part: PartName) -> None:
        self._writer = writer
        self._layout = layout
        self._part = part
        self._number = 0
        self._rows: list[Row] = []

    def name(self, output: str) -> str:
        """Return what an output is called inside its shard, where loose it would be `output`."""
        return output

    def mask_names(self, name: str, masks: Iterable[str]) -> dict[str, str]:
        """Return what the masks of an output are called inside its shard."""
        return {mask: mask_name(name, mask) for mask in masks}

    def put(self, row: Row, data: Buffer, masks: Mapping[str, bytes]) -> None:
        """Take an output; its row learns its shard when that is written."""
        if self._rows and self._would_be(row, data, masks) > self._layout.most:
            self._end()
        self._rows.append(row)
        self._add(row, data, masks)

    def finish(self) -> None:
        """Write the last shard."""
        if self._rows:
            self._end()

    def _end(self) -> None:
        data = self._ended()
        mark = reduce(lambda mark, piece: crc32(piece, mark), pieces_of(data), 0)
        shard = ShardName(self._part.block, self._part.serial, self._number, mark, self._layout.extension)
        self._writer.write(str(shard), data)
        told = f'{{"shard":[{size_of(data)},{shard.mark}]}}'
        for row in self._rows:
            row.shard = str(shard)
            row.others = told
        self._number += 1
        self._rows = []

    @abstractmethod
    def _would_be(self, row: Row, data: Buffer, masks: Mapping[str, bytes]) -> int:
        """Return how large the shard would be with one more output."""

    @abstractmethod
    def _add(self, row: Row, data: Buffer, masks: Mapping[str, bytes]) -> None:
        """Put an output into the shard."""

    @abstractmethod
    def _ended(self) -> Content:
        """Return the shard, and begin a new one."""


class TarShards(Shards):
    """Tar files for `webdataset`: of each output the image, its labels as JSON, and its masks, one after another.

    They have the same key, which is what stands before the first dot of their base names. Nothing in the headers
    tells of the machine, the user or the time, so that equal outputs are equal bytes.
    """

    def __init__(self, writer: WriteBehind, layout: Layout, part: PartName) -> None:
        super().__init__(writer, layout, part)
        self._next: list[Buffer] = []
        self._begin()

    def _begin(self) -> None:
        self._size = 0
        # Where a store sends pieces as they are, they are never put together; elsewhere at once, lest it be held twice.
        self._held: list[Buffer] | io.BytesIO = [] if self._writer.store.takes_pieces else io.BytesIO()

    def name(self, output: str) -> str:
        """Return the member's name."""
        return sample_name(output)

    def mask_names(self, name: str, masks: Iterable[str]) -> dict[str, str]:
        """Return the members' names: the key of the image, however long it is."""
        key = posixpath.splitext(name)[0]
        return {mask: f"{key}.{'mask' if mask == 'mask' else f'mask-{mask}'}.{MASK_FORMAT}" for mask in masks}

    def _would_be(self, row: Row, data: Buffer, masks: Mapping[str, bytes]) -> int:
        self._next = _members(row, data, masks)
        return self._size + size_of(self._next) + len(_TAR_END)

    def _add(self, row: Row, data: Buffer, masks: Mapping[str, bytes]) -> None:
        pieces = self._next or _members(row, data, masks)
        self._hold(pieces)
        self._size += size_of(pieces)
        self._next = []

    def _hold(self, pieces: list[Buffer]) -> None:
        if isinstance(self._held, list):
            self._held += pieces
        else:
            self._held.writelines(pieces)

    def _ended(self) -> Content:
        self._hold([_TAR_END])
        held = self._held
        self._begin()
        return held if isinstance(held, list) else held.getvalue()


def _members(row: Row, data: Buffer, masks: Mapping[str, bytes]) -> list[Buffer]:
    """Return an output's members in pieces: its own bytes, and what stands before and behind them."""
    name = str(row.output)
    said = about(row).encode()
    labels = _header(f"{posixpath.splitext(name)[0]}.json", len(said)) + said + _filling(said)
    pieces: list[Buffer] = [_header(name, len(data)), data, _filling(data) + labels]
    names = json.loads(row.masks) if row.masks else {}
    for mask, content in masks.items():
        pieces += [_header(names[mask], len(content)), content, _filling(content)]
    return pieces


def _header(name: str, size: int) -> bytes:
    """Return a member's header, as `tarfile` makes it; for plain names in a tenth of its time."""
    if not name.isascii() or len(name) > _LONGEST_NAME or size > _LARGEST_MEMBER:
        member = tarfile.TarInfo(name)
        member.size = size
        return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    start = b"%b%b%011o\0%b" % (name.encode().ljust(_LONGEST_NAME, b"\0"), _AFTER_NAME, size, _AFTER_SIZE)
    return b"%b%06o\0 %b" % (start, sum(start) + _PLAIN_SUM, _AFTER_CHECKSUM)


def _filling(content: Buffer) -> bytes:
    """Return what fills a member's last block."""
    return bytes(-len(content) % _TAR_BLOCK)


def about(row: Row) -> str:
    """Return what a training job may want to know of an output, as JSON.

    Parameters
    ----------
    row : Row
        Its row. ``objects`` and ``params`` are JSON already.
    """
    values = {
        "height": row.height,
        "key": row.key,
        "objects": row.objects,
        "params": row.params,
        "recipe_id": row.recipe_id,
        "seed": row.seed,
        "variant": row.variant,
        "width": row.width,
    }
    written = {"objects", "params"}
    texts = (f'"{n}":{v if n in written and v is not None else json.dumps(v)}' for n, v in values.items())
    return f"{{{','.join(texts)}}}"


class ParquetShards(Shards):
    """Parquet files with an image in each row, which Hugging Face's `datasets` knows for one, and its labels."""

    def __init__(self, writer: WriteBehind, layout: Layout, part: PartName, extension: str) -> None:
        super().__init__(writer, layout, part)
        self._schema = _schema(is_image=extension not in _NO_IMAGE)
        self._begin()

    def _begin(self) -> None:
        import pyarrow.parquet as pq

        self._file = io.BytesIO()
        texts = [name for name in self._schema.names if name not in {"image", "masks"}]
        # Images are compressed already, and no two are alike: neither is tried.
        self._table = pq.ParquetWriter(
            self._file, self._schema, use_dictionary=texts, compression=dict.fromkeys(texts, "snappy")
        )
        self._group: list[dict[str, Any]] = []
        self._bytes = self._in_group = 0

    def _would_be(self, row: Row, data: Buffer, masks: Mapping[str, bytes]) -> int:
        return self._bytes + _weight(row, data, masks)

    def _add(self, row: Row, data: Buffer, masks: Mapping[str, bytes]) -> None:
        weight = _weight(row, data, masks)
        if self._group and (len(self._group) == _ROWS_IN_GROUP or self._in_group + weight > _BYTES_IN_GROUP):
            self._end_group()
        names = json.loads(row.masks) if row.masks else {}
        values = {name: getattr(row, name) for name in self._schema.names if name not in {"image", "masks"}}
        image = {"bytes": data, "path": row.output}
        named = [{"name": mask, "image": {"bytes": masks[mask], "path": names[mask]}} for mask in masks]
        self._group.append({"image": image, **values, "masks": named})
        self._in_group += weight
        self._bytes += weight

    def _end_group(self) -> None:
        import pyarrow as pa

        self._table.write_table(pa.Table.from_pylist(self._group, self._schema))
        self._group, self._in_group = [], 0

    def _ended(self) -> bytes:
        self._end_group()
        self._table.close()
        data = self._file.getvalue()
        self._begin()
        return data


def _weight(row: Row, data: Buffer, masks: Mapping[str, bytes]) -> int:
    """Return what a row takes, before its texts are compressed."""
    return len(data) + sum(map(len, masks.values())) + len(row.params) + len(row.objects or "")


def _schema(*, is_image: bool) -> pa.Schema:
    """Return the columns of a Parquet shard, and for `datasets` what they mean."""
    import pyarrow as pa

    bytes_and_path = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    plain = {
        "key": "string",
        "variant": "string",
        "width": "int32",
        "height": "int32",
        "objects": "string",
        "params": "string",
        "seed": "int64",
        "recipe_id": "string",
    }
    mask = pa.struct([("name", pa.string()), ("image", bytes_and_path)])
    columns = [
        ("image", bytes_and_path),
        *((name, pa.type_for_alias(kind)) for name, kind in plain.items()),
        ("masks", pa.list_(mask)),
    ]
    image = {"_type": "Image"} if is_image else {"bytes": _value("binary"), "path": _value("string")}
    features = {
        "image": image,
        **{name: _value(kind) for name, kind in plain.items()},
        "masks": [{"name": _value("string"), "image": {"_type": "Image"}}],
    }
    said = json.dumps({"info": {"features": features}})  # in the columns' own order, or `datasets` does not believe it
    return pa.schema(columns, metadata={"huggingface": said})


def _value(kind: str) -> dict[str, str]:
    return {"dtype": kind, "_type": "Value"}
