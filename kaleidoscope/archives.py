"""Archives: which files a zip or tar file holds, and the bytes of one of them by a read of just these."""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from math import prod
from typing import TYPE_CHECKING, Any

from braceexpand import braceexpand

from kaleidoscope import settings
from kaleidoscope.codecs import KNOWN_EXTENSIONS
from kaleidoscope.errors import KaleidoscopeError, RecipeError, StoreError
from kaleidoscope.file_info import etag_of
from kaleidoscope.members import Member, name_of
from kaleidoscope.objects import objects_of
from kaleidoscope.ranged import FAR_WINDOW, WINDOW, RangedFile, read_range
from kaleidoscope.storage import filesystem, read_url, store_errors
from kaleidoscope.unpacked import unpacked
from kaleidoscope.urls import public

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

#: What their names end in.
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_COMPRESSED = (".tar.gz", ".tgz")
_NOT_READ = (".7z", ".rar", ".tar.bz2", ".tar.xz", ".tar.zst", ".tbz2", ".txz")
_IMAGES = tuple(f".{extension}" for extension in KNOWN_EXTENSIONS)
#: What labels end in that lie beside images.
_LABELS = ".json"
#: Folders that packing programs leave.
_LITTER = "__MACOSX"
#: Archives that are listed at the same time.
_AT_ONCE = 16
#: Names that braces may stand for.
_MOST_NAMES = 1_000_000
_NUMBERS = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})")
#: A zip file's list stands at its end: 256 KiB hold that of some 2,500 members.
_TAIL = 2**18
#: What a header in a zip file may have beyond what the list tells: an extra field, and sizes that follow the content.
_MORE_IN_HEADER = 2**16 + 24
_LOCAL_HEADER = 30


def is_archive(name: str) -> bool:
    """Whether a name or URL is that of an archive that can be read.

    Raises
    ------
    StoreError
        If it is one of another kind.

    Examples
    --------
    >>> is_archive("a/photos.ZIP"), is_archive("a.tar.gz"), is_archive("a.jpg")
    (True, True, False)
    """
    end = _path_of(name)
    if end.endswith(_NOT_READ):
        raise StoreError(f"cannot read {public(name)}: expected an archive that ends in {', '.join(ARCHIVES)}")
    return end.endswith(ARCHIVES) and Member.parse(name) is None


def without_extension(url: str) -> str:
    """Return the URL of an archive without what says that it is one.

    Examples
    --------
    >>> without_extension("a/train-000.tar.gz")
    'a/train-000'
    """
    end = next(end for end in sorted(ARCHIVES, key=len, reverse=True) if _path_of(url).endswith(end))
    return url[: len(_path_of(url)) - len(end)]


def _path_of(url: str) -> str:
    """Return a URL in lower case, without the signature that some have behind ``?``."""
    return (url.partition("?")[0] if url.startswith(("http://", "https://")) else url).lower()


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive as it was listed.

    Parameters
    ----------
    url : str
        Its local path or URL.
    size : int
        Bytes.
    etag : str
        The store's mark of this version.
    """

    url: str
    size: int
    etag: str

    @property
    def mark(self) -> int:
        """A number that changes when the archive does."""
        return zlib.crc32(f"{self.size} {self.etag}".encode())


def archives_in(fs: AbstractFileSystem, folder: str) -> list[str]:
    """Return the paths of the archives in a folder, and in those in it; no hidden ones."""
    inside = folder.rstrip("/") + "/"
    names = [str(name) for name in fs.find(folder) if name.lower().endswith(ARCHIVES)]
    return [name for name in names if not _hidden(name.removeprefix(inside))]


def named_by_braces(url: str) -> list[str]:
    """Return the names that braces stand for, as in a shell: ``train-{000..009}.tar`` are ten.

    Raises
    ------
    StoreError
        If they do not close, or stand for more names than anybody has archives.

    Examples
    --------
    >>> named_by_braces("s3://bucket/{a,b}-{08..10}.tar")[:4]
    ['s3://bucket/a-08.tar', 's3://bucket/a-09.tar', 's3://bucket/a-10.tar', 's3://bucket/b-08.tar']
    """
    numbers = [abs(int(last) - int(first)) + 1 for first, last in _NUMBERS.findall(url)]
    try:  # which would hold all numbers of a range
        names = list(islice(braceexpand(url, escape=False), _MOST_NAMES + 1)) if prod(numbers) <= _MOST_NAMES else []
    except ValueError as error:
        raise StoreError(f"cannot list {public(url)}: {error}") from None
    if not 0 < len(names) <= _MOST_NAMES:
        raise StoreError(f"cannot list {public(url)}: the braces stand for more than {_MOST_NAMES:,} names")
    return names


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds.

    Parameters
    ----------
    images : sequence of (str, Member)
        With their keys, in the archive's order.
    beside : sequence of (str, Member)
        What may be their labels.
    """

    images: Sequence[tuple[str, Member]]
    beside: Sequence[tuple[str, Member]]


def contents_of(urls: Iterable[str], root: str | None, storage_options: Mapping[str, Any]) -> Iterator[Contents]:
    """Yield what each archive holds; several are looked at at once.

    Keys are the members' own names, so that they are the same in one shard or in many, and where all are unpacked into
    one folder. Where a root is given, the archive's name stands before them, as a folder's would. Folders, links and
    devices are passed by, and so is what is hidden.

    Parameters
    ----------
    urls : iterable of str
        The archives.
    root : str or None
        What keys are relative to: a folder that they lie in, or the archive.
    storage_options : mapping
        What fsspec needs.

    Raises
    ------
    StoreError
        If one of them cannot be read, is damaged, was cut off, or has a member that leads out of it or is there twice.
    RecipeError
        If one lies outside of the root.
    """
    several = list(urls)
    one_of = partial(_contents_of_one, root=root, storage_options=storage_options)
    if len(several) < 2:
        yield from map(one_of, several)
        return
    with ThreadPoolExecutor(min(_AT_ONCE, len(several)), "list-archives") as pool:
        yield from pool.map(one_of, several)


def _contents_of_one(url: str, root: str | None, storage_options: Mapping[str, Any]) -> Contents:
    before = "" if not root or root == url else _folder(url, root)
    images: list[tuple[str, Member]] = []
    beside: list[tuple[str, Member]] = []
    seen: set[str] = set()
    with _archive_errors(url):
        for member in _members_of(url, storage_options):
            image = member.name.lower().endswith(_IMAGES)
            if not image and not member.name.lower().endswith(_LABELS):
                continue
            if member.name in seen:
                raise StoreError(f"it holds two members called {member.name!r}: pack it again with one of them")
            seen.add(member.name)
            (images if image else beside).append((before + member.name, member))
    return Contents(images, beside)


def _folder(url: str, root: str) -> str:
    name, above = without_extension(url), root.rstrip("/") + "/"
    if not name.startswith(above):
        raise RecipeError(f"{public(url)} does not lie in the root {public(root)}")
    return name[len(above) :] + "/"


def _members_of(url: str, storage_options: Mapping[str, Any]) -> Iterator[Member]:
    archive = _archive_at(url, storage_options)
    if _path_of(url).endswith(".zip"):
        yield from _in_zip(archive, storage_options)
    elif _path_of(url).endswith(_COMPRESSED):
        tar = unpacked(url, archive.mark, partial(_packed, archive, storage_options))
        yield from _in_tar(archive, RangedFile(tar.read, tar.size, FAR_WINDOW))
    else:
        yield from _in_tar(archive, _opened(archive, storage_options))


def _archive_at(url: str, storage_options: Mapping[str, Any]) -> Archive:
    fs, path = filesystem(url, storage_options)
    info = objects_of(fs, url, storage_options).ask(path, lambda fs: fs.info(path))
    return Archive(url, info["size"], etag_of(info))


@contextmanager
def _archive_errors(url: str) -> Iterator[None]:
    with store_errors(f"list {url}"):
        try:
            yield
        except KaleidoscopeError as error:
            raise type(error)(f"cannot list {public(url)}: {error.message}") from None
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
            what = f"it is no archive of its kind, is damaged, or was cut off: {error}"
            raise StoreError(f"cannot list {public(url)}: {what}") from None


def _in_zip(archive: Archive, storage_options: Mapping[str, Any]) -> Iterator[Member]:
    file = _opened(archive, storage_options)
    file.fetch(max(archive.size - _TAIL, 0), _TAIL)
    with zipfile.ZipFile(file) as found:
        infos = sorted(found.infolist(), key=lambda info: info.header_offset)
        starts = [*(info.header_offset for info in infos), found.start_dir]
    for info, (start, following) in zip(infos, pairwise(starts), strict=True):
        least = start + _LOCAL_HEADER + len(info.orig_filename) + info.compress_size
        if least > following:
            raise StoreError(f"{info.filename!r} reaches into the next member, as in what is made to fill disks")
        mode = info.external_attr >> 16
        if info.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
            continue
        name = name_of(info.filename)
        if not _hidden(name):
            end = min(following, least + 3 * len(info.orig_filename) + _MORE_IN_HEADER)
            yield Member("zip", name, archive.url, start, end, info.file_size, info.CRC)


def _in_tar(archive: Archive, file: io.RawIOBase) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:") as found:
        last = -1
        while (info := found.next()) is not None:
            if info.offset <= last or info.size < 0:  # Python before 3.13.6 would go round for ever
                raise tarfile.ReadError(f"the header at byte {info.offset:,} leads back")
            last = info.offset
            found.members = []  # type: ignore[attr-defined]  # it would keep them all
            if not info.isreg():
                continue
            name = name_of(info.name)
            if _hidden(name):
                continue
            if info.issparse():
                raise StoreError(f"{info.name!r} is stored with holes: pack it again without --sparse")
            end = info.offset_data + info.size
            yield Member("tar", name, archive.url, info.offset, end, info.size, archive.mark)
        file.seek(found.offset)  # where it saw no further header
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"there is no end after byte {found.offset:,}")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == _LITTER for part in name.split("/"))


# ---------------------------------------------------------------------------------- reading


def read_file(url: str, storage_options: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes at a URL, which may be that of an archive's member: then no others of the archive are read.

    Raises
    ------
    StoreError
        If they cannot be read; see also `Member.content`.
    """
    member = Member.parse(url)
    if member is None:
        return read_url(url, storage_options)
    most = settings.value("max-member-bytes")
    if member.size > most:
        raise StoreError(
            f"cannot read a member of {public(member.archive)}: {member.name!r} has {member.size:,} bytes, more than "
            f"the {most:,} of the setting kaleidoscope.max-member-bytes"
        )
    with store_errors(f"read {member.name!r} in {member.archive}"):
        options = storage_options or {}
        if _path_of(member.archive).endswith(_COMPRESSED):
            open_ = partial(_packed_now, member, options)
            record = unpacked(member.archive, member.mark, open_).read(member.start, member.end)
        else:
            record = read_range(member.archive, options, member.start, member.end)
        return member.content(record)


def _opened(archive: Archive, storage_options: Mapping[str, Any]) -> RangedFile:
    window = WINDOW if "://" in archive.url else FAR_WINDOW
    return RangedFile(partial(read_range, archive.url, storage_options), archive.size, window)


def _packed(archive: Archive, storage_options: Mapping[str, Any]) -> io.BufferedReader:
    return io.BufferedReader(_opened(archive, storage_options))


def _packed_now(member: Member, storage_options: Mapping[str, Any]) -> io.BufferedReader:
    """Open the archive of a member as it is now, which has to be what it was when it was listed."""
    now = _archive_at(member.archive, storage_options)
    if now.mark != member.mark:
        raise StoreError(f"cannot read {public(member.archive)}: it has changed since it was listed; list it again")
    return _packed(now, storage_options)
