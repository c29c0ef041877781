"""A host as it is written after ``ssh``: the user, the name or address, and the port, in one text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

_FORMS = "expected a host such as desk1, anna@desk1, desk1:2222, anna@desk1:2222, ::1 or [::1]:2222"
_NAME = re.compile(r"(?:\[(?P<bracketed>[^\]]*)\]|(?P<name>[^-\s:@/\[\]][^\s:@/\[\]]*))(?::(?P<port>[0-9]{1,5}))?")
_USER = re.compile(r"[^-\s:/][^\s:/]*")


def holds_password(destination: str) -> bool:
    """Return whether a password stands between user and host.

    >>> holds_password("anna:swordfish@desk1"), holds_password("anna@desk1:2222"), holds_password("::1")
    (True, False, False)
    """
    return ":" in destination.rpartition("@")[0]


def parts_of(destination: str) -> dict[str, Any]:
    """Return the ``host`` of a text, and its ``user`` and ``port`` where it has them.

    Parameters
    ----------
    destination : str
        Of the form ``[user@]host[:port]``. An IPv6 address before a port is in brackets: without them, ``::1:22`` is
        an address.

    Raises
    ------
    ValueError
        With what was expected; a password in it is not repeated.

    Examples
    --------
    >>> parts_of("anna@desk1:2222")
    {'host': 'desk1', 'user': 'anna', 'port': 2222}
    >>> parts_of("[::1]:22"), parts_of("::1")
    ({'host': '::1', 'port': 22}, {'host': '::1'})
    """
    if holds_password(destination):
        raise ValueError(
            "expected no password: only SSH keys are used. Run `ssh-copy-id HOST` once, and write user@host"
        )
    user, at, rest = destination.rpartition("@")
    found = _NAME.fullmatch(f"[{rest}]" if _is_ipv6(rest) else rest)
    if found is None or (at and not _USER.fullmatch(user)):
        raise ValueError(f"{_FORMS}; got {destination!r:.60}")
    bracketed, name, port = found.group("bracketed", "name", "port")
    if bracketed is not None and not _is_ipv6(bracketed):
        raise ValueError(f"{_FORMS}, with an IPv6 address in the brackets; got {destination!r:.60}")
    if port is not None and not 1 <= int(port) <= 65535:
        raise ValueError(f"expected a port, from 1 to 65535, after the host; got {destination!r:.60}")
    return {
        "host": name or bracketed,
        **({"user": user} if at else {}),
        **({"port": int(port)} if port is not None else {}),
    }


def settings_of(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of a host as a mapping, with the user and port that its text has.

    Raises
    ------
    ValueError
        As `parts_of` raises it; or if the text says one thing, and the mapping another.

    Examples
    --------
    >>> settings_of({"host": "anna@desk1", "memory": "2GiB"})
    {'host': 'desk1', 'memory': '2GiB', 'user': 'anna'}
    """
    if isinstance(given, str):
        return parts_of(given)
    found = parts_of(given["host"])
    for name in ("user", "port"):
        if name in found and given.get(name, found[name]) != found[name]:
            raise ValueError(
                f"expected {name} once; the host says {found[name]!r}, {name} says {given[name]!r}: leave one out"
            )
    return {**given, **found}


def written(host: str, user: str | None = None, port: int | None = None) -> str:
    """Return the text of a host.

    >>> written("desk1", "anna", 2222), written("::1"), written("::1", port=22)
    ('anna@desk1:2222', '::1', '[::1]:22')
    """
    name = f"[{host}]" if port and ":" in host else host
    return f"{user}@" * bool(user) + name + f":{port}" * bool(port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
