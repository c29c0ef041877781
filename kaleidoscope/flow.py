"""How much of a task's input and output may be on its way while it computes: bounds in number and in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from kaleidoscope import settings
from kaleidoscope.settings import DEFAULTS


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most objects that are on their way, and the most bytes of them; a single one may be larger.

    Parameters
    ----------
    number : int
        Objects.
    size : int
        Bytes.

    Examples
    --------
    >>> bounds = Bounds(2, 100)
    >>> bounds.admit(1, 60, 40), bounds.admit(1, 60, 41), bounds.admit(2, 0, 0), bounds.admit(0, 0, 500)
    (True, False, False, True)
    """

    number: int
    size: int

    def admit(self, number: int, size: int, more: int) -> bool:
        """Whether one more object of `more` bytes may set out where `number` objects of `size` bytes are."""
        return not number or (number < self.number and size + more <= self.size)


@dataclass(frozen=True, slots=True)
class Flow:
    """The bounds of one task.

    Parameters
    ----------
    reads : Bounds
        Of what is fetched before it is needed.
    writes : Bounds
        Of what is written behind the task's back.
    """

    reads: Bounds = Bounds(DEFAULTS["reads-at-once"], DEFAULTS["read-bytes"])
    writes: Bounds = Bounds(DEFAULTS["writes-at-once"], DEFAULTS["write-bytes"])

    @classmethod
    def as_set(cls) -> Self:
        """Return what the settings say now."""
        return cls(
            Bounds(settings.value("reads-at-once"), settings.value("read-bytes")),
            Bounds(settings.value("writes-at-once"), settings.value("write-bytes")),
        )
