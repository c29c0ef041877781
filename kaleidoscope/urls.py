"""What a URL says: how it is opened, and how it may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kaleidoscope.errors import StoreError


def options_of(url: str, storage_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what opens a URL: the given options, and what the URL itself says of host, user and password."""
    return {**(storage_options or {}), **options_in(url)}


def options_in(url: str) -> dict[str, Any]:
    """Return what a URL itself says of host, user and password."""
    import fsspec

    protocol, separator, _ = url.partition("://")
    if not separator or "::" in protocol:
        return {}
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except (ValueError, ImportError) as error:
        raise StoreError(f"cannot open {public(url)!r}: {error}") from None
    found = kind._get_kwargs_from_urls(url)  # noqa: SLF001 - fsspec's own way in
    return {name: value for name, value in found.items() if value}


def public(url: str) -> str:
    """Return a URL without the user and password, or the signature behind ``?``, that it may contain.

    Examples
    --------
    >>> public("ftp://me:secret@host/a.jpg")
    'ftp://host/a.jpg'
    """
    return re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", re.sub(r"://[^/\s]*@", "://", url))
