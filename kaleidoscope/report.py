"""What a run came to, or all the runs of a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from shlex import quote
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
from dask.delayed import delayed
from dask.utils import format_bytes

from kaleidoscope.display import html_table
from kaleidoscope.lease import is_held
from kaleidoscope.manifest import FAILED, OK, PartName
from kaleidoscope.sources import RECORD_FOLDER, Url
from kaleidoscope.storage import Store
from kaleidoscope.tables import part_groups, read_manifest, read_parts
from kaleidoscope.target import Expected, read_asked
from kaleidoscope.totals import Totals, sum_totals
from kaleidoscope.verify import Verification, unfinished_text, verify

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd
    from numpy.typing import NDArray

#: Seconds between two signs of work in a target after which it counts as having rested in between.
_PAUSE = 600.0
#: Keys that are named as examples of a kind of failure.
_EXAMPLES = 3
#: Kinds of failure that a text tells of.
_KINDS_TOLD = 20


@dataclass(frozen=True)
class Report:
    """What a run of `AugmentedBag.write` came to; `Report.read` has what all runs of a target came to.

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
        holds several pages or frames; ``outside``: labelled objects that lie outside of their image.
    unfinished : int
        Of the inputs, those of which something is left to be done, as a run was stopped: the same write again does it.
        0 of what a run returns, which has done what it was asked for.
    at_work : bool
        A run has the lease: it is at work there, or was killed.
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
    unfinished: int = 0
    at_work: bool = False

    @classmethod
    def read(cls, url: Url, *, storage_options: Mapping[str, Any] | None = None) -> Report:
        """Read from its manifest what there is in a target, whatever runs have made it.

        Parameters
        ----------
        url : str or path
            The target of a `write`.
        storage_options : mapping, optional
            What fsspec needs to open it.

        Returns
        -------
        Report
            ``inputs`` are those that the manifest has rows of, and those that the last run was asked for; ``outputs``
            are those that are there by the manifest, ``skipped`` is 0, and ``counts`` is empty. ``seconds`` go from
            when the record was written to when the last block was committed, without the times in which nothing was
            for ten minutes; 0 where the store does not say when.

        Raises
        ------
        StoreError
            If nothing was written there, or it cannot be read.
        """
        import pandas as pd

        store = Store(str(url), storage_options)
        groups = part_groups(store)
        asked, expected = read_asked(store)
        tasks = [delayed(partial(_total, store, expected), pure=False)(group) for group in groups]
        keys, done, totals = zip(*dask.compute(*tasks), strict=True)
        total = sum_totals(totals)
        inputs = asked.append(pd.Index(np.concatenate(keys))).nunique()
        unfinished = len(asked) - int(asked.isin(np.concatenate(done)).sum())
        record = list(store.look(RECORD_FOLDER))
        seconds = seconds_at_work((one.written for one in record), _PAUSE)
        held = is_held(one.name.rpartition("/")[2] for one in record)
        sums = total.outputs, 0, total.failed, total.bytes, seconds
        return cls(store.url, inputs, *sums, {}, store.storage_options, unfinished, held)

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

    @property
    def failures(self) -> pd.DataFrame:
        """What failed in the target by kind, most variants first, as a pandas DataFrame.

        Its columns are ``step``, ``kind`` (the class of the error), ``error``, ``inputs`` and ``variants`` (how many),
        and ``keys``: some of those inputs.
        """
        by_kind = self.errors.groupby(["step", "error"], dropna=False)
        found = by_kind.agg(
            inputs=("key", "nunique"), variants=("variants", "sum"), keys=("key", lambda keys: [*keys[:_EXAMPLES]])
        ).reset_index()
        found.insert(1, "kind", found["error"].str.partition(":")[0])
        return found.sort_values(["variants", "step", "error"], ascending=[False, True, True], ignore_index=True)

    def verify(self, *, checksums: bool = False) -> Verification:
        """Compare what lies in the target with its manifest, by one listing.

        Parameters
        ----------
        checksums : bool
            Read every object, on the active client's workers or else in this process, and compare its CRC-32.

        Returns
        -------
        Verification
            ``.ok``; ``.unfinished`` inputs; ``.counts`` of objects that are missing, of another size or checksum, or
            extra; ``.problems``, all of them as a pandas DataFrame; ``.repair()`` has the next run make again what is
            missing or wrong.

        Raises
        ------
        StoreError
            If the target cannot be read.
        """
        return verify(Store(self.url, self.storage_options), checksums=checksums)

    def _lines(self, see: str = "see .errors") -> list[tuple[str, str]]:
        """Return names and values; `see` says where it is told what failed."""
        rate = f" ({self.outputs / self.seconds:,.0f} a second)" if self.outputs and self.seconds else ""
        several = self.counts.get("first_page", 0)
        pages = [("pages", f"{several:,} input{'s' * (several != 1)} of several pages or frames: the first was taken")]
        outside = self.counts.get("outside", 0)
        objects = "1 object outside of its" if outside == 1 else f"{outside:,} objects outside of their"
        labels = [("labels", f"{objects} image: left out")]
        left = unfinished_text(self.unfinished, self.inputs, at_work=self.at_work)
        return [
            ("inputs", f"{self.inputs:,}"),
            *([("left", left)] if self.unfinished else []),
            ("outputs", f"{self.outputs:,}{rate}"),
            ("skipped", f"{self.skipped:,} were there already" if self.skipped else "0"),
            (
                "failed",
                f"{self.failed:,} input{'s' * (self.failed != 1)}, {see}" if self.failed else "0",
            ),
            *(pages if several else []),
            *(labels if outside else []),
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


def _total(store: Store, expected: Expected, parts: Sequence[PartName]) -> tuple[NDArray[Any], NDArray[Any], Totals]:
    """Return the keys that the rows of some parts tell of, those that are done, and what they came to: a task."""
    rows = read_parts(parts, store, ["key", "variant", "status", "bytes", "serial"])
    done, failed = rows[rows["status"] == OK], rows[rows["status"] == FAILED]
    total = Totals(len(done), int(done["bytes"].sum()), failed["key"].nunique(), len(failed))
    return rows["key"].drop_duplicates().to_numpy(object), expected.done(rows), total


def seconds_at_work(times: Iterable[float | None], pause: float) -> float:
    """Return the seconds between signs of work, without those in which there was none for longer than a pause.

    Examples
    --------
    >>> seconds_at_work([30.0, 10.0, 25.0, 2000.0, 2010.0], 600)
    30.0
    """
    known = sorted(time for time in times if time is not None)
    return sum(after - before for before, after in pairwise(known) if after - before <= pause)


def as_text(report: Report, verified: Verification | None = None, again: int | None = None) -> str:
    """Lay out for people what there is in a target, the most frequent failures, and whether it is all there.

    Parameters
    ----------
    report : Report
    verified : Verification, optional
        Of it.
    again : int, optional
        Outputs that the next run will make again.
    """
    told = report._lines("told below")  # noqa: SLF001 - next door
    lines = [f"{name:>8}  {value}" for name, value in told if name != "skipped"]
    kinds = report.failures.to_dict("records") if report.failed else []
    for kind in kinds[:_KINDS_TOLD]:
        more = f", and {kind['inputs'] - _EXAMPLES:,} more" if kind["inputs"] > _EXAMPLES else ""
        keys = ", ".join(key if key.isprintable() else repr(key) for key in kind["keys"])
        lines.append(f"{kind['variants']:>8,} x {kind['step']}: {kind['error']} ({keys}{more})")
    if len(kinds) > _KINDS_TOLD:
        variants = sum(kind["variants"] for kind in kinds[_KINDS_TOLD:])
        lines.append(f"{variants:>8,} x {len(kinds) - _KINDS_TOLD:,} other kinds of failure")
    if verified is not None:
        lines += ["", str(verified)]
    if again is not None:
        lines.append(f"{again:,} outputs will be made again: repeat the run" if again else "There is nothing to repair")
    return "\n".join(lines)


def of_command(report: Report) -> str:
    """Lay out what a run came to for the command line, where what failed is told by a command."""
    told = report._lines(f"see: kaleidoscope report {quote(report.url)}")  # noqa: SLF001 - next door
    return "\n".join(f"{name:>8}  {value}" for name, value in told)


def as_json(report: Report, verified: Verification | None = None, again: int | None = None) -> dict[str, Any]:
    """Return the same as JSON values, with all there is: see `as_text`."""
    found: dict[str, Any] = {
        name: getattr(report, name)
        for name in ("url", "inputs", "outputs", "failed", "unfinished", "at_work", "bytes", "seconds")
    }
    found["errors"] = report.failures.to_dict("records") if report.failed else []
    if verified is not None:
        problems = [problem._asdict() for problem in verified.found]
        found["verified"] = {
            "ok": verified.ok,
            "objects": verified.objects,
            "checksums": verified.checksums,
            "at_work": verified.at_work,
            "unfinished": verified.unfinished,
            **verified.counts,
            "problems": problems,
        }
    if again is not None:
        found["made_again"] = again
    return found
