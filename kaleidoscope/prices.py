"""What an object store takes: one dated table, which a user may replace."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date as Date  # noqa: N812 - a field of the table is called date
from pathlib import Path
from typing import Any, Self

from kaleidoscope import settings
from kaleidoscope.errors import RecipeError

#: The table that is used where nobody names another.
TABLE = Path(__file__).with_name("prices.toml")
#: Where the table has what the fields of `Prices` are called.
_SECTIONS = {
    "put": "per_1000_requests",
    "get": "per_1000_requests",
    "list": "per_1000_requests",
    "month": "per_gb",
    "egress": "per_gb",
}


@dataclass(frozen=True)
class Prices:
    """What an object store takes.

    Parameters
    ----------
    store, region : str
        Whose prices they are.
    date : datetime.date
        Of which day.
    currency : str
        Such as ``USD``.
    put, get, list : float
        A thousand requests of the kind.
    month : float
        A gigabyte (10**9 bytes) for a month.
    egress : float
        A gigabyte that is read from outside of the region.
    """

    store: str
    region: str
    date: Date
    currency: str
    put: float
    get: float
    list: float
    month: float
    egress: float

    @classmethod
    def read(cls, path: str | os.PathLike[str] | None = None) -> Self:
        """Read a table; by default the one that the setting ``kaleidoscope.prices`` names, else the package's.

        Raises
        ------
        RecipeError
            If it cannot be read, or something in it is missing or makes no sense.
        """
        path = path or settings.value("prices") or TABLE
        try:
            table = tomllib.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RecipeError(f"cannot read the prices in {path}: {error}") from None
        values = {one.name: _found(table, one.name) for one in fields(cls)}
        for name, value in values.items():
            if not _makes_sense(name, value):
                where = f"{_SECTIONS[name]}.{name}" if name in _SECTIONS else name
                raise RecipeError(f"the prices in {path}: expected {_expected(name)} for {where}, got {value!r}")
        return cls(**values)

    def of_requests(self, requests: Mapping[str, int]) -> float:
        """Return what so many requests of each kind cost."""
        return sum(count * float(getattr(self, kind)) for kind, count in requests.items()) / 1000

    def __str__(self) -> str:
        """Say whose they are and of which day."""
        return f"{self.store}, {self.region}, {self.currency}, {self.date.isoformat()}"


def _found(table: Mapping[str, Any], name: str) -> Any:
    section = table.get(_SECTIONS[name]) if name in _SECTIONS else table
    return section.get(name) if isinstance(section, Mapping) else None


def _makes_sense(name: str, value: object) -> bool:
    if name in _SECTIONS:
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return type(value) is Date if name == "date" else isinstance(value, str) and bool(value)


def _expected(name: str) -> str:
    return (
        "a number of at least 0" if name in _SECTIONS else "a date such as 2026-11-21" if name == "date" else "a text"
    )
