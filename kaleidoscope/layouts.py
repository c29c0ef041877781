"""How outputs lie in a target: as files of their own, or many of them in a shard."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dask.utils import parse_bytes

from kaleidoscope.errors import RecipeError, did_you_mean

#: What they are called, and the extension of their shards.
LAYOUTS = {"files": "", "webdataset": "tar", "parquet": "parquet"}
#: Shards of this size are read at the speed of the disk or the network, and a task can hold one in memory.
SHARD_BYTES = 2**28
_SMALLEST = 2**20


@dataclass(frozen=True)
class Layout:
    """How outputs lie in a target.

    Parameters
    ----------
    name : str
        ``files``: each is an object. ``webdataset``: tar files, an image's members one after another.
        ``parquet``: tables with an image in each row.
    shard_bytes : int or str, optional
        What a shard holds at most, at least 1 MiB: a number of bytes, or ``"256 MiB"``, which is the default.

    Raises
    ------
    RecipeError
        For an unknown layout, or a size that makes no sense.

    Examples
    --------
    >>> Layout("parquet", "1 MiB")
    Layout(name='parquet', shard_bytes=1048576)
    """

    name: str = "files"
    shard_bytes: int | str | None = None

    def __post_init__(self) -> None:
        """Bring the size to a number, or refuse it."""
        if not isinstance(self.name, str) or self.name not in LAYOUTS:
            hint = did_you_mean(str(self.name), LAYOUTS)
            raise RecipeError(f"expected one of the layouts {', '.join(LAYOUTS)}; got {self.name!r}.{hint}")
        given = self.shard_bytes
        if given is not None and not self.sharded:
            raise RecipeError(
                f"shard_bytes={given!r}: the layout 'files' has no shards; drop it, or choose another one"
            )
        try:
            if isinstance(given, bool | float):
                raise TypeError(given)
            size = SHARD_BYTES if given is None else int(parse_bytes(given))
        except Exception as error:  # Dask's parser raises KeyError, IndexError, AttributeError, ...
            raise RecipeError(f"expected shard_bytes such as '256 MiB', got {given!r}") from error
        if size < _SMALLEST:
            raise RecipeError(f"expected shard_bytes of at least 1 MiB, {_SMALLEST:,}; got {given!r}")
        object.__setattr__(self, "shard_bytes", size)

    @property
    def sharded(self) -> bool:
        """Whether outputs lie in shards."""
        return self.name != "files"

    @property
    def most(self) -> int:
        """What a shard holds at most, bytes."""
        return int(self.shard_bytes or 0)

    @property
    def extension(self) -> str:
        """Of its shards, without the dot."""
        return LAYOUTS[self.name]


_SHARD = re.compile(
    r"(?P<block>\d{8,})-(?P<serial>\d{3,})-(?P<number>\d{5,})-(?P<mark>[0-9a-f]{8})\.(?P<extension>tar|parquet)"
)


@dataclass(frozen=True, slots=True, order=True)
class ShardName:
    """What the name of a shard says.

    Parameters
    ----------
    block, serial : int
        The manifest part that has its rows.
    number : int
        Its place among the shards of that part.
    mark : int
        CRC-32 of its bytes: what one attempt at a block has written another one never writes over with other bytes.
    extension : str
        ``tar`` or ``parquet``.

    Examples
    --------
    >>> str(ShardName(3, 0, 1, 0xBEEF, "tar")), ShardName.parse("photos.tar")
    ('00000003-000-00001-0000beef.tar', None)
    """

    block: int
    serial: int
    number: int
    mark: int
    extension: str

    def __str__(self) -> str:
        """Write the object's name."""
        return f"{self.block:08d}-{self.serial:03d}-{self.number:05d}-{self.mark:08x}.{self.extension}"

    @classmethod
    def parse(cls, name: str) -> ShardName | None:
        """Read an object's name; None if it is not a shard's."""
        match = _SHARD.fullmatch(name)
        if match is None:
            return None
        block, serial, number = (int(match[part]) for part in ("block", "serial", "number"))
        return cls(block, serial, number, int(match["mark"], 16), match["extension"])
