"""What lies in a bucket: listed a thousand keys a request, from several places at once where there are many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.entries import Entries, texts
from kaleidoscope.errors import RecipeError
from kaleidoscope.objects import ObstoreObjects, OddPathError, objects_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

#: Requests under way at once.
_AT_ONCE = 16
#: Stretches that a listing is cut into: more than are listed at once, as some are longer than others.
_STRETCHES = 4 * _AT_ONCE
#: Levels of folders in which places to cut are looked for, and requests in each folder.
_LEVELS, _LOOKS = 3, 8
#: Is told how many keys more there are.
Tell = Callable[[int], None]


class _UnorderedError(Exception):
    """A server does not list in the order of keys, or not from the key that it was asked for."""


def is_bucket(fs: AbstractFileSystem) -> bool:
    """Whether a filesystem is S3's."""
    return "s3" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


@dataclass(frozen=True)
class Bucket:
    """A bucket of S3, to be listed.

    Parameters
    ----------
    fs : s3fs.S3FileSystem
        Opens it.
    name : str
        Of the bucket.
    options : mapping
        What the filesystem was opened with.
    tell : callable
        Is told of keys as they come: how many more.
    """

    fs: Any
    name: str
    options: Mapping[str, Any]
    tell: Tell = lambda _: None

    def entries(self, prefix: str, base: str, wanted: Callable[[str], bool]) -> tuple[Entries, bool]:
        """List what lies under a prefix, in the order of the keys, and tell whether there was anything.

        A thousand keys take one request. Of more, the folders below are looked up, and the stretches between them are
        listed at once: requests as many as there are thousands of keys, and few more, however many folders there are.

        Parameters
        ----------
        prefix : str
            What the keys begin with.
        base : str
            The folder that they are to be relative to, with its slash.
        wanted : callable
            Says of a key, whole, whether to keep it.

        Raises
        ------
        FileNotFoundError, PermissionError
            If there is no such bucket, or it may not be listed.
        RecipeError
            If one of them does not lie in `base`.
        """
        first = self._request(Prefix=prefix)
        take = partial(self._columns, base=base, wanted=wanted)
        if not first.get("IsTruncated"):
            page = _of_s3fs(first)
            self.tell(len(page))
            return take([page]), bool(page)
        cuts = self._cuts(prefix)
        try:
            return self._in_stretches(prefix, cuts, take), True
        except _UnorderedError:
            return take(self._by_token(Prefix=prefix)), True

    def _in_stretches(
        self, prefix: str, cuts: Sequence[str], take: Callable[[Iterable[Sequence[_Object]]], Entries]
    ) -> Entries:
        bounds = ["", *cuts, None]
        with ThreadPoolExecutor(_AT_ONCE, "kaleidoscope-list") as pool:
            stretches = [
                pool.submit(lambda a=after, u=until: take(self._stretch(prefix, a, u)))  # type: ignore[misc]
                for after, until in pairwise(bounds)
            ]
            try:
                return Entries.joined([each.result() for each in stretches])
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _cuts(self, prefix: str) -> list[str]:
        """Return folders at which to cut, in order: of so many levels as it takes to have enough."""
        found: set[str] = set()
        level = [prefix]
        with ThreadPoolExecutor(_AT_ONCE, "kaleidoscope-list") as pool:
            for _ in range(_LEVELS):
                level = [folder for folders in pool.map(self._folders, level) for folder in folders]
                found.update(level)
                if not level or len(found) >= _AT_ONCE:
                    break
        cuts = sorted(found)
        if len(cuts) < _STRETCHES:
            return cuts
        return [cuts[place * len(cuts) // _STRETCHES] for place in range(1, _STRETCHES)]

    def _folders(self, prefix: str) -> list[str]:
        """Return the folders directly under a prefix; not all where there are very many, or many objects between."""
        found: list[str] = []
        more: dict[str, str] = {}
        for _ in range(_LOOKS):
            page = self._request(Prefix=prefix, Delimiter="/", **more)
            here = [each["Prefix"] for each in page.get("CommonPrefixes", ())]
            found += here
            if not here or not page.get("IsTruncated"):
                break
            more = {"ContinuationToken": page["NextContinuationToken"]}
        return found

    def _stretch(self, prefix: str, after: str, until: str | None) -> Iterator[Sequence[_Object]]:
        """Yield the pages of what comes after a key, up to and with another one."""
        last = after
        for page in self._pages(prefix, after):
            keys = [key for key, _, _ in page]
            if keys and (keys[0] <= last or any(one >= other for one, other in pairwise(keys))):
                raise _UnorderedError
            if until is not None and keys and keys[-1] > until:
                here = [one for one in page if one[0] <= until]
                self.tell(len(here))
                yield here
                return
            last = keys[-1] if keys else last
            self.tell(len(page))
            yield page

    def _pages(self, prefix: str, after: str) -> Iterator[Sequence[_Object]]:
        """Yield pages after a key, by the fastest library there is."""
        objects = objects_of(self.fs, f"s3://{self.name}", self.options)
        if isinstance(objects, ObstoreObjects) and (not prefix or prefix.endswith("/")):
            try:
                for found in objects.listed(self.name, prefix.rstrip("/"), after):
                    # obstore takes the slash from the end of `after`: "a/b.jpg", before "a/b/", would come again.
                    page = [(one["path"], one["size"], one["e_tag"] or "") for one in found]
                    yield [one for one in page if not after.rstrip("/") < one[0] <= after]
                    after = page[-1][0]
            except OddPathError:
                pass  # s3fs goes on from there
            else:
                return
        yield from self._by_token(Prefix=prefix, **({"StartAfter": after} if after else {}))

    def _by_token(self, **what: str) -> Iterator[Sequence[_Object]]:
        while True:
            page = self._request(**what)
            yield _of_s3fs(page)
            if not page.get("IsTruncated"):
                return
            what = {"Prefix": what["Prefix"], "ContinuationToken": page["NextContinuationToken"]}

    def _request(self, **what: str) -> Mapping[str, Any]:
        objects = objects_of(self.fs, f"s3://{self.name}", self.options)
        try:
            page: Mapping[str, Any] = objects.ask(
                f"{self.name}/{what.get('Prefix', '')}",
                lambda fs: fs.call_s3("list_objects_v2", fs.req_kw, Bucket=self.name, **what),
            )
        except PermissionError:
            raise PermissionError(f"bucket {self.name!r}: the credentials do not allow s3:ListBucket") from None
        return page

    def _columns(self, pages: Iterable[Sequence[_Object]], base: str, wanted: Callable[[str], bool]) -> Entries:
        """Put pages into columns, one by one: a thousand objects as Python has them are half a megabyte."""
        return Entries.joined([self._column(page, base, wanted) for page in pages])

    def _column(self, page: Sequence[_Object], base: str, wanted: Callable[[str], bool]) -> Entries:
        kept = [one for one in page if wanted(one[0])]
        for key, _, _ in kept:
            if not key.startswith(base):
                raise RecipeError(f"{self.name}/{key} does not lie in the root {self.name}/{base}")
        return Entries(
            texts(key[len(base) :] for key, _, _ in kept),
            f"s3://{self.name}/{base}",
            np.array([size for _, size, _ in kept], np.int64),
            texts(etag.strip('"') for _, _, etag in kept),
        )


#: Key, size and etag.
_Object = tuple[str, int, str]


def _of_s3fs(page: Mapping[str, Any]) -> list[_Object]:
    return [(one["Key"], one["Size"], one.get("ETag", "")) for one in page.get("Contents", ())]
