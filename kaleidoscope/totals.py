"""What some blocks, or a whole run, came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kaleidoscope.manifest import FAILED, OK


@dataclass(frozen=True)
class Totals:
    """What some blocks, or a whole run, came to.

    Parameters
    ----------
    outputs, bytes : int
        Written now.
    failed : int
        Inputs of which at least one variant failed.
    lost : int
        Variants that failed.
    seconds : float
        From opening to closing; 0 for blocks.
    counts : mapping of str to int
        ``decode``, ``kernel``, ``warp``, ``permutation``, ``encode``: what it took; ``mask``: masks encoded;
        ``buffer``: images allocated.
    """

    outputs: int = 0
    bytes: int = 0
    failed: int = 0
    lost: int = 0
    seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(rows: Iterable[tuple[str, str, int | None]], counts: Mapping[str, int]) -> Totals:
        """Sum up the rows of a block, each as key, status and bytes."""
        rows = list(rows)
        done = [size or 0 for _, status, size in rows if status == OK]
        failed = [key for key, status, _ in rows if status == FAILED]
        return Totals(len(done), sum(done), len(set(failed)), len(failed), counts=counts)


def sum_totals(several: Sequence[Totals]) -> Totals:
    """Add up the totals of different blocks."""
    counts: Counter[str] = Counter()
    for one in several:
        counts.update(one.counts)
    sums = {name: sum(getattr(one, name) for one in several) for name in ("outputs", "bytes", "failed", "lost")}
    return Totals(**sums, counts=dict(counts))
