"""What a URL says: how it is opened, and how it may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kaleidoscope.errors import RecipeError, StoreError

#: A user and password as some write them before a bucket; a secret may hold slashes, no bucket's name an @ or a colon.
_BEFORE_BUCKET = re.compile(r"(?:^|::)s3a?://(?!arn:)[^/]*[@:]")
#: What an address ends in where text goes on behind it; behind ``?`` all else is taken for a signature.
_SIGNATURE = re.compile(r"(https?://(?:(?!://)[^?\n])*)\?\S*?(?=[:.,;'\")\]>]*(?:\s|$))")


def options_of(url: str, storage_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what opens a URL: the given options, and what the URL itself says of host, user and password."""
    return {**(storage_options or {}), **options_in(url)}


def options_in(url: str) -> dict[str, Any]:
    """Return what a URL itself says of host, user and password.

    Raises
    ------
    RecipeError
        If it has a user and password before a bucket of S3, where no library looks for them and errors would show them.
    StoreError
        If nothing opens URLs of its kind.
    """
    import fsspec

    if _BEFORE_BUCKET.search(url):
        raise RecipeError(
            "expected s3://bucket/..., got a URL with a user and password before the bucket (not repeated here): "
            "credentials go into the environment, a profile, or storage_options"
        )

    protocol, separator, _ = url.partition("://")
    if not separator or "::" in protocol:
        return {}
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except (ValueError, ImportError) as error:
        raise StoreError(public(f"cannot open {url!r}: {error}")) from None
    found = kind._get_kwargs_from_urls(url)  # noqa: SLF001 - fsspec's own way in
    return {name: value for name, value in found.items() if value}


def without_query(url: str) -> str:
    """Return a URL of http or https without what stands behind ``?`` or ``#``; elsewhere these are letters of a name.

    Examples
    --------
    >>> without_query("https://host/a.jpg?X-Amz-Signature=1f#top"), without_query("s3://bucket/why?.jpg")
    ('https://host/a.jpg', 's3://bucket/why?.jpg')
    """
    return re.split(r"[?#]", url, maxsplit=1)[0] if url.startswith(("http://", "https://")) else url


def public(text: str) -> str:
    """Return a URL, or a text with URLs in it, without users, passwords, and signatures behind ``?``.

    Examples
    --------
    >>> public("ftp://me:secret@host/a.jpg"), public("cannot read 'https://host/a.jpg?sig=1f': denied")
    ('ftp://host/a.jpg', "cannot read 'https://host/a.jpg': denied")
    """
    shown = re.sub(r"://[^/\s]*@", "://", text)
    if re.fullmatch(r"https?://\S*[^\s:]", shown):
        return shown.partition("?")[0]
    return _SIGNATURE.sub(r"\1", shown)


def shows_secrets(error: BaseException) -> bool:
    """Whether a traceback of an error would show a password or a signature: in its text, or in that of its causes."""
    shown: BaseException | None = error
    while shown is not None:
        if public(str(shown)) != str(shown):
            return True
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
    return False
