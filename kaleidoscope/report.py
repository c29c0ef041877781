"""What a run came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from kaleidoscope.display import html_table
from kaleidoscope.manifest import FAILED
from kaleidoscope.tables import read_manifest

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd


@dataclass(frozen=True)
class Report:
    """What a run of `AugmentedBag.write` came to.

    Parameters
    ----------
    url : str
        The target.
    inputs : int
        Images that were asked for.
    outputs : int
        Written by this run.
    skipped : int
        Outputs that were there already.
    failed : int
        Inputs of which at least one variant failed in this run.
    bytes : int
        Of the outputs written.
    seconds : float
        From the first task to the last.
    counts : mapping of str to int
        What it took: ``decode``, ``kernel``, ``warp``, ``permutation``, ``encode``; ``first_page``: images whose file
        holds several pages or frames.
    """

    url: str
    inputs: int
    outputs: int
    skipped: int
    failed: int
    bytes: int
    seconds: float
    counts: Mapping[str, int] = field(repr=False)
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def manifest(self) -> dd.DataFrame:
        """The whole manifest of the target as a Dask DataFrame, one row per output."""
        return read_manifest(self.url, storage_options=self.storage_options)

    @cached_property
    def errors(self) -> pd.DataFrame:
        """What failed in the target, as a pandas DataFrame: key, step, error, and how many variants it cost."""
        rows = self.manifest
        failed = rows[rows["status"] == FAILED][["key", "step", "error", "variant"]].compute()
        grouped = failed.groupby(["key", "step", "error"], sort=True, dropna=False)["variant"].count()
        errors: pd.DataFrame = grouped.rename("variants").reset_index()
        return errors

    def _lines(self) -> list[tuple[str, str]]:
        rate = f" ({self.outputs / self.seconds:,.0f} a second)" if self.outputs and self.seconds else ""
        several = self.counts.get("first_page", 0)
        pages = [("pages", f"{several:,} input{'s' * (several != 1)} of several pages or frames: the first was taken")]
        return [
            ("inputs", f"{self.inputs:,}"),
            ("outputs", f"{self.outputs:,}{rate}"),
            ("skipped", f"{self.skipped:,} were there already" if self.skipped else "0"),
            (
                "failed",
                f"{self.failed:,} input{'s' * (self.failed != 1)}, see .errors" if self.failed else "0",
            ),
            *(pages if several else []),
            ("bytes", format_bytes(self.bytes)),
            ("seconds", f"{self.seconds:.1f}"),
            ("target", self.url),
        ]

    def __str__(self) -> str:
        """Read as a short table."""
        return "\n".join(f"{name:>8}  {value}" for name, value in self._lines())

    def _repr_html_(self) -> str:
        """Show as a table in a notebook."""
        return html_table(self._lines(), "Kaleidoscope run")
