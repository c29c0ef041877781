"""A member of an archive: the URL that stands for it, and its content out of the bytes that the archive has for it."""

from __future__ import annotations

import io
import re
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from urllib.parse import unquote

from kaleidoscope.errors import StoreError
from kaleidoscope.urls import public

_URL = re.compile(
    r"(?P<kind>zip|tar)://(?P<name>[^:]*)::(?P<archive>.+)"
    r"#(?P<start>\d+)-(?P<end>\d+),(?P<size>\d+),(?P<mark>[0-9a-f]{8})",
    re.DOTALL,
)
#: What would end a member's name too early, or be taken for a user and password, is written as in any URL.
_QUOTED = str.maketrans({char: f"%{ord(char):02X}" for char in "%:@"})
#: Of a zip file's header before each member: the signature, flags and method, and the lengths of name and extra field.
_LOCAL_HEADER = struct.Struct("<4s2x2H16x2H")
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_AGAIN = "pack it again, without what this reader does not know"


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive, and where its bytes are.

    Parameters
    ----------
    kind : str
        ``zip`` or ``tar``.
    name : str
        Its name in the archive, ``/`` between folders; see `name_of`.
    archive : str
        Local path or URL of the archive.
    start, end : int
        Its bytes with the header that stands before them; of a compressed tar file, when that is unpacked.
    size : int
        Its bytes, unpacked.
    mark : int
        What tells its version: of a zip file its own CRC-32, else one that changes when the archive does.

    Examples
    --------
    >>> member = Member("zip", "cat/1.jpg", "s3://bucket/a.zip", 0, 90_123, 90_500, 0xBEEF)
    >>> member.url
    'zip://cat/1.jpg::s3://bucket/a.zip#0-90123,90500,0000beef'
    >>> Member.parse(member.url) == member, Member.parse("s3://bucket/a.jpg")
    (True, None)
    """

    kind: str
    name: str
    archive: str
    start: int
    end: int
    size: int
    mark: int

    @property
    def url(self) -> str:
        """The chained URL that fsspec knows, and behind ``#`` what one ranged read needs to know."""
        name = self.name.translate(_QUOTED)
        return f"{self.kind}://{name}::{self.archive}#{self.start}-{self.end},{self.size},{self.mark:08x}"

    @classmethod
    def parse(cls, url: str) -> Member | None:
        """Read a URL; None if it is no such one."""
        match = _URL.fullmatch(url)
        if match is None:
            return None
        start, end, size = (int(match[part]) for part in ("start", "end", "size"))
        name = unquote(match["name"], errors="surrogateescape")
        return cls(match["kind"], name, match["archive"], start, end, size, int(match["mark"], 16))

    def content(self, record: bytes) -> bytes:
        """Return its content.

        Parameters
        ----------
        record : bytes
            What the archive has from `start` to `end`.

        Raises
        ------
        StoreError
            If it is encrypted, compressed in a way that is not known, larger than the archive says, damaged, or if
            something else lies there by now.
        """
        return self._of_zip(record) if self.kind == "zip" else self._of_tar(record)

    def _of_zip(self, record: bytes) -> bytes:
        if len(record) < _LOCAL_HEADER.size or not record.startswith(_SIGNATURE):
            raise self._is_gone()
        _, flags, method, name, extra = _LOCAL_HEADER.unpack_from(record)
        if flags & _ENCRYPTED:
            raise self._error(f"is encrypted, and there is no way to give a password: {_AGAIN}")
        packed = memoryview(record)[_LOCAL_HEADER.size + name + extra :]
        match method:
            case zipfile.ZIP_STORED:
                content = bytes(packed[: self.size])
            case zipfile.ZIP_DEFLATED:
                try:
                    content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, self.size + 1)
                except zlib.error as error:
                    raise self._error(f"is damaged, or the archive has changed since it was listed: {error}") from None
            case _:
                raise self._error(f"is compressed by zip's method {method}; expected stored or deflated: {_AGAIN}")
        if len(content) > self.size:
            raise self._error(f"is larger than the {self.size:,} bytes that the archive says: it was not unpacked")
        if len(content) < self.size or zlib.crc32(content) != self.mark:
            raise self._error("is damaged, or the archive has changed since it was listed: its checksum is another")
        return content

    def _of_tar(self, record: bytes) -> bytes:
        try:
            with tarfile.open(fileobj=io.BytesIO(record), mode="r:") as tar:
                info = tar.next()
            same = info is not None and (name_of(info.name), info.size) == (self.name, self.size)
        except (tarfile.TarError, StoreError, ValueError):  # what lies there may be anything
            same = False
        if not same or len(record) < self.size:
            raise self._is_gone()
        return record[len(record) - self.size :]

    def _is_gone(self) -> StoreError:
        return self._error("is not where it was when the archive was listed: the archive has changed; list it again")

    def _error(self, what: str) -> StoreError:
        return StoreError(f"cannot read a member of {public(self.archive)}: {self.name!r} {what}")


def place_of(url: str) -> str:
    """Return where the bytes of a URL lie: of a member's, its archive.

    Examples
    --------
    >>> place_of("tar://1.jpg::/data/a.tar#0-1536,700,0000beef"), place_of("s3://bucket/1.jpg")
    ('/data/a.tar', 's3://bucket/1.jpg')
    """
    member = Member.parse(url)
    return url if member is None else member.archive


def name_of(name: str) -> str:
    r"""Return a member's name as a key: ``/`` between folders, nothing to do before them.

    Raises
    ------
    StoreError
        If it leads out of the archive.

    Examples
    --------
    >>> name_of("./cat/1.jpg"), name_of("cat\\1.jpg")
    ('cat/1.jpg', 'cat/1.jpg')
    """
    whole = name.replace("\\", "/")
    parts = [part for part in whole.split("/") if part not in {"", "."}]
    if whole.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:/", whole):
        raise StoreError(f"the member {name!r} leads out of the archive: pack it again with names relative to a folder")
    return "/".join(parts)
