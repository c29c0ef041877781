"""What a listing says of a file or an object: each of fsspec's filesystems has words of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def etag_of(info: Mapping[str, Any]) -> str:
    """Return what tells this version of an object from the next: its etag, else when it was changed."""
    for name in ("ETag", "etag", "md5Hash", "md5", "mtime", "LastModified", "last_modified", "created"):
        if info.get(name) is not None:
            return str(info[name]).strip('"')
    return ""


def written_at(info: Mapping[str, Any]) -> float | None:
    """Return when an object was written, as seconds since 1970."""
    when = next((info[name] for name in ("mtime", "LastModified", "updated", "created") if info.get(name)), None)
    stamp = getattr(when, "timestamp", None)
    return float(when) if isinstance(when, int | float) else float(stamp()) if callable(stamp) else None
