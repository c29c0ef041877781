"""Whether what lies in a target is what its manifest tells of; and how what is missing or wrong is made again."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import dask
import numpy as np
from dask.delayed import delayed
from isal.isal_zlib import crc32

from kaleidoscope import settings
from kaleidoscope.errors import StoreError
from kaleidoscope.layouts import ShardName
from kaleidoscope.lease import Owner, is_held, take_lease
from kaleidoscope.manifest import (
    COLUMNS,
    FAILED,
    OK,
    SOME,
    PartName,
    Row,
    expected_of,
    from_parquet,
    oldest_first,
    to_parquet,
)
from kaleidoscope.sources import RECORD_FOLDER
from kaleidoscope.storage import Store
from kaleidoscope.tables import part_groups
from kaleidoscope.target import PARTS, Expected, fingerprint, read_asked
from kaleidoscope.write_behind import WriteBehind

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Wrong = Literal["missing", "size", "checksum", "extra"]
#: What is wrong, in the order in which it is told, and how one object of it is described.
_KINDS: Mapping[str, str] = {
    "missing": "",
    "size": ": {found:,} bytes instead of {expected:,}",
    "checksum": ": CRC-32 {found:08x} instead of {expected:08x}",
    "extra": ": {found:,} bytes",
}
#: Of what is wrong in one way, so many are named in a text.
_NAMED = 10
#: Groups of manifest parts that are read before their objects are compared: what is held beside the listing.
_GROUPS_AT_ONCE = 16
_NEEDED = ["key", "variant", "status", "output", "bytes", "checksum", "masks", "shard", "others"]


class Problem(NamedTuple):
    """An object that is not as the manifest says.

    Parameters
    ----------
    name : str
        In the target.
    problem : str
        ``missing``, ``size``, ``checksum``, or ``extra``: no row tells of it.
    expected, found : int or None
        Bytes; CRC-32 where that is what differs.
    outputs : int
        That lie in it: several in a shard, none in what is extra.
    block : int or None
        Of the manifest.
    """

    name: str
    problem: Wrong
    expected: int | None
    found: int | None
    outputs: int
    block: int | None


class _Object(NamedTuple):
    """An object that rows tell of: its block, size, CRC-32, and how many outputs lie in it."""

    name: str
    block: int
    size: int | None
    checksum: int | None
    outputs: int


@dataclass(frozen=True)
class Verification:
    """What `Report.verify` found.

    Parameters
    ----------
    url : str
        The target.
    objects : int
        That the manifest tells of.
    found : list of Problem
        What is not as it says; ``problems`` has them as a table.
    checksums : bool
        Whether the objects were read.
    at_work : bool
        A run has the lease: what it has not committed yet is among the extra objects.
    inputs, unfinished : int
        Those that the last run was asked for, and of how many of them something is left to be done.
    """

    url: str
    objects: int
    found: list[Problem] = field(repr=False)
    checksums: bool = False
    at_work: bool = False
    store: Store | None = field(default=None, repr=False, compare=False)
    fingerprint: str = field(default="", repr=False, compare=False)
    inputs: int = 0
    unfinished: int = 0

    @property
    def ok(self) -> bool:
        """Whether all inputs are done, and everything is there, as it should be, and nothing else."""
        return not self.found and not self.unfinished

    @property
    def counts(self) -> dict[str, int]:
        """How many objects are ``missing``, of another ``size`` or ``checksum``, or ``extra``."""
        counts = Counter(problem.problem for problem in self.found)
        return {kind: counts[kind] for kind in _KINDS}  # type: ignore[index]  # its keys are these very words

    @property
    def problems(self) -> pd.DataFrame:
        """All that is wrong as a pandas DataFrame: name, problem, expected, found, outputs, block."""
        import pandas as pd

        numbers = dict.fromkeys(("expected", "found", "outputs", "block"), "Int64")
        return pd.DataFrame(self.found, columns=list(Problem._fields)).astype(numbers)

    def __str__(self) -> str:
        """Read as a few lines: of each kind of problem the first ones are named."""
        how = "read and compared" if self.checksums else "compared with a listing"
        lines = [
            f"{self.objects:,} objects {how}: {'all as the manifest says' if not self.found else 'not all is right'}"
        ]
        for kind, told in _KINDS.items():
            those = [problem for problem in self.found if problem.problem == kind]
            if those:
                lines.append(f"{len(those):>8,} {'of another ' if kind in {'size', 'checksum'} else ''}{kind}")
            for one in those[:_NAMED]:
                name = one.name if one.name.isprintable() else repr(one.name)
                known = one.expected is not None or kind == "extra"
                lines.append(f"          {name}{told.format(**one._asdict()) if known else ''}")
            if len(those) > _NAMED:
                lines.append(f"          and {len(those) - _NAMED:,} more")
        if self.unfinished:
            lines.append(unfinished_text(self.unfinished, self.inputs, at_work=self.at_work))
        if self.at_work and not self.ok:
            lines.append("A run is at work there, or was killed: what it has not committed is extra")
        return "\n".join(lines)

    def repair(self) -> int:
        """Have the next run make again what is missing or wrong; return how many outputs that are.

        Their rows become failed ones, of the step ``verify``, as which the next run tries them again; objects that are
        wrong are deleted. What is extra stays: it may be yours.

        Raises
        ------
        StoreError
            If another run is writing there, or has written since this was found.
        """
        bad = {problem.name: problem for problem in self.found if problem.problem != "extra"}
        if self.store is None or not bad:
            return 0
        store, lease = self.store, take_lease(self.store, Owner.here(uuid.uuid4().hex))
        try:
            if fingerprint(store) != self.fingerprint:
                raise StoreError(f"{store.url} was written to since it was verified: verify it again")
            blocks = {problem.block for problem in bad.values()}
            lost = 0
            with WriteBehind(store) as writer:
                for group in part_groups(store):
                    for block, parts in groupby(group, lambda part: part.block):
                        if block in blocks:
                            lease.renew()
                            lost += _give_up(store, writer, [*parts], bad)
            store.delete(problem.name for problem in bad.values() if problem.problem != "missing")
        finally:
            lease.release()
        return lost


def unfinished_text(unfinished: int, inputs: int, *, at_work: bool) -> str:
    """Say how many inputs are not done, and what to do; `at_work`: a run has the lease.

    Examples
    --------
    >>> unfinished_text(48, 60, at_work=False)
    '48 of 60 inputs are not done: repeat the run'
    >>> unfinished_text(48, 60, at_work=True)
    '48 of 60 inputs are not done: a run is at work there, or was killed; then repeat it'
    """
    several, are = "s" * (inputs != 1), "is" if unfinished == 1 else "are"
    what = "a run is at work there, or was killed; then repeat it" if at_work else "repeat the run"
    return f"{unfinished:,} of {inputs:,} input{several} {are} not done: {what}"


def _give_up(store: Store, writer: WriteBehind, parts: Sequence[PartName], bad: Mapping[str, Problem]) -> int:
    """Write a part for a block in which the outputs that lie in bad objects have failed; return how many."""
    lost = []
    for values in _newest(store, parts, None):
        row = Row(**{name: value for name, value in values.items() if name in COLUMNS})
        problem = next((bad[name] for name in row.files if name in bad), None)
        if row.status == OK and problem is not None:
            what = "was missing" if problem.problem == "missing" else f"was of another {problem.problem}"
            error = f"StoreError: its object {what}; the next run makes it again"
            kept = {name: getattr(row, name) for name in _OF_FAILED}
            lost.append(Row(**{**kept, "status": FAILED, "step": "verify", "error": error}))
    newest = oldest_first(parts)[-1]
    name = PartName(newest.block, newest.serial + 1, newest.inputs, SOME, failures=True)
    writer.write(f"{PARTS}/{name}", to_parquet(lost, COLUMNS))
    return len(lost)


#: What the row of an output says, too, that there is not.
_OF_FAILED = (
    *("key", "variant", "params", "seed", "recipe_id", "environment"),
    *("source", "source_size", "source_etag", "source_pages"),
)


def verify(store: Store, *, checksums: bool = False) -> Verification:
    """Compare what lies in a target with its manifest.

    The target is listed once. The parts of the manifest are read, and with `checksums` every object, by the active
    client's workers or else by threads of this process.

    Parameters
    ----------
    store : Store
        The target.
    checksums : bool
        Read every object and compare its CRC-32.

    Raises
    ------
    StoreError
        If nothing was written there, or it cannot be read.
    """
    mark = fingerprint(store)
    groups = part_groups(store)  # before the listing: what a run at work commits meanwhile is extra, never missing
    asked, whole = read_asked(store)
    at_work = is_held(store.list(RECORD_FOLDER))
    there = {one.name: one.size for one in store.look() if not one.name.startswith(f"{RECORD_FOLDER}/")}
    problems: list[Problem] = []
    done: list[NDArray[Any]] = []
    objects = 0
    for expected, damaged in _expected(store, groups, whole, done, checksums=checksums):
        objects += 1
        size = there.pop(expected.name, None)
        if size is None:
            told: tuple[Wrong, int | None, int | None] = ("missing", expected.size, None)
        elif expected.size not in {None, size} or (expected.size is None and size == 0):
            told = ("size", expected.size, size)
        elif damaged is not None:
            told = ("checksum", expected.checksum, damaged)
        else:
            continue
        problems.append(Problem(expected.name, *told, expected.outputs, expected.block))
    problems += [Problem(name, "extra", None, size, 0, None) for name, size in sorted(there.items())]
    left = len(asked) - (int(asked.isin(np.concatenate(done)).sum()) if done else 0)
    return Verification(store.url, objects, problems, checksums, at_work, store, mark, len(asked), left)


def _expected(
    store: Store, groups: Sequence[Sequence[PartName]], whole: Expected, done: list[NDArray[Any]], *, checksums: bool
) -> Iterator[tuple[_Object, int | None]]:
    """Yield the objects the manifest tells of, each with the CRC-32 it has where that is another one.

    On the way `done` gets the keys of the inputs that are done.
    """
    look = partial(_look_at, store, whole, at_once=settings.value("writes-at-once") if checksums else 0)
    waiting = iter(groups)
    while some := [*islice(waiting, _GROUPS_AT_ONCE)]:
        for found, keys in dask.compute(*(delayed(look, pure=False)(group) for group in some)):
            done.append(keys)
            yield from found


def _look_at(
    store: Store, whole: Expected, parts: Sequence[PartName], *, at_once: int
) -> tuple[list[tuple[_Object, int | None]], NDArray[Any]]:
    """Return the objects that some parts tell of, read so many at once, if any, and the keys that are done: a task."""
    import pandas as pd

    expected: list[_Object] = []
    rows: list[tuple[str, str, int]] = []
    for _, block in groupby(parts, lambda part: part.block):
        expected += _objects_of(store, [*block], rows)
    keys = whole.done(pd.DataFrame(rows, columns=["key", "variant", "serial"]))
    if not at_once:
        return [(one, None) for one in expected], keys
    shards = any(ShardName.parse(one.name) for one in expected)  # each may be 256 MiB
    with ThreadPoolExecutor(1 if shards else at_once) as pool:
        return [*zip(expected, pool.map(partial(_other_checksum, store), expected), strict=True)], keys


def _other_checksum(store: Store, expected: _Object) -> int | None:
    data = None if expected.checksum is None else store.read_if_there(expected.name)
    found = None if data is None else crc32(data)
    return None if found == expected.checksum else found


def _objects_of(store: Store, parts: Sequence[PartName], rows: list[tuple[str, str, int]]) -> list[_Object]:
    """Return the objects that the newest rows of a block tell of; `rows` gets of what those are, and their parts."""
    known: dict[str, tuple[int | None, int | None]] = {}
    outputs: dict[str, int] = defaultdict(int)
    for row in _newest(store, parts, _NEEDED):
        rows.append((row["key"], row["variant"], row["serial"]))
        if row["status"] == OK:
            expected = expected_of(row)
            known.update(expected)
            for name in expected:
                outputs[name] += 1
    block = parts[0].block
    return [_Object(name, block, *known[name], outputs[name]) for name in known]


def _newest(store: Store, parts: Sequence[PartName], columns: list[str] | None) -> list[dict[str, Any]]:
    """Return the rows of a block's parts; of two for one output the newer, each with the ``serial`` of its part."""
    rows = {}
    for part in oldest_first(parts):
        for row in from_parquet(store.read(f"{PARTS}/{part}"), columns).to_pylist():
            rows[row["key"], row["variant"]] = {**row, "serial": part.serial}
    return [*rows.values()]
