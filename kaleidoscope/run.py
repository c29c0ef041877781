"""The run record: what a target holds, what a new run adds to it, and the work that is left.

``_kaleidoscope/run.json`` says what was asked for; ``inputs-N.parquet`` which keys belong to which block; the names of
the parts under ``manifest/`` which blocks are done. All of it is read before a run, and written only under the lease.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.job import Job, digest, environment, leaves_digest
from kaleidoscope.manifest import OK, PartName, files_of, from_parquet, oldest_first, to_parquet
from kaleidoscope.sources import RECORD_FOLDER, Entry
from kaleidoscope.storage import Store

RUN_RECORD = f"{RECORD_FOLDER}/run.json"
PARTS = f"{RECORD_FOLDER}/manifest"
FORMAT_VERSION = 1

_INPUT_COLUMNS = {
    "block": "int32",
    "key": "string",
    "size": "int64",
    "etag": "string",
    "labels": "string",
    "since": "int32",
}
#: Stands in a part's name for variants that differ from key to key.
SOME = "some"


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """An input as the target knows it: its block, and the version its outputs are made from.

    That version has counted since part ``since`` of the block: older rows are of other versions, even if one of them
    was the same, since the outputs may have been written over in between.
    """

    block: int
    key: str
    size: int | None
    etag: str
    labels: str
    since: int = 0

    def differs(self, entry: Entry) -> bool:
        """Whether image or labels are another version; a size or etag that one of them lacks is no difference."""
        sizes = {self.size, entry.size} - {None}
        etags = {self.etag, entry.etag} - {""}
        return len(sizes) > 1 or len(etags) > 1 or self.labels != entry.labels


@dataclass(frozen=True)
class TargetState:
    """What a target holds.

    Parameters
    ----------
    record : dict or None
        The content of ``run.json``; None if nothing was written there yet.
    inputs : dict of str to RecordedInput
        By key, in the order of their blocks.
    parts : dict of int to list of PartName
        The committed manifest parts, by block.
    fingerprint : str
        Changes whenever another run has written here.
    half_deleted : bool
        An overwriting run was stopped while it deleted what was here; what is left of it counts for nothing.
    """

    record: Mapping[str, Any] | None
    inputs: Mapping[str, RecordedInput]
    parts: Mapping[int, list[PartName]]
    fingerprint: str
    half_deleted: bool = False

    @property
    def leaf_ids(self) -> dict[str, str]:
        """Variant to recipe id, for everything recorded."""
        sets = self.record["leaf_sets"] if self.record else {}
        return {variant: leaf_id for leaves in sets.values() for variant, leaf_id in leaves.items()}


def fingerprint(store: Store) -> str:
    """Return a short text that changes whenever a run writes to this target."""
    record = store.read_if_there(RUN_RECORD)
    return digest([record.decode() if record else "", store.list(PARTS)])


def read_state(store: Store) -> TargetState:
    """Read what a target holds.

    Raises
    ------
    StoreError
        If it was written by a newer version.
    """
    mark = fingerprint(store)
    data = store.read_if_there(RUN_RECORD)
    record = json.loads(data) if data else None
    if record is None:
        return TargetState(None, {}, {}, mark)
    if record.get("deleting"):
        return TargetState(None, {}, {}, mark, half_deleted=True)
    if record["format_version"] > FORMAT_VERSION:
        raise StoreError(
            f"{store.url} was written by a newer version of Kaleidoscope (record format {record['format_version']}, "
            f"this one reads {FORMAT_VERSION}): upgrade to go on with it"
        )
    inputs: dict[str, RecordedInput] = {}
    for name in record["inputs"]:
        table = from_parquet(store.read(f"{RECORD_FOLDER}/{name}"))
        for values in zip(*(table[column].to_pylist() for column in _INPUT_COLUMNS), strict=True):
            one = RecordedInput(*values)
            inputs[one.key] = one
    parts: dict[int, list[PartName]] = defaultdict(list)
    for name in store.list(PARTS):
        part = PartName.parse(name)
        if part is not None:
            parts[part.block].append(part)
    return TargetState(record, inputs, parts, mark)


@dataclass(frozen=True, slots=True)
class BlockWork:
    """What is left to do of one block, and the manifest part that will say it is done.

    Parameters
    ----------
    part : PartName
        Without ``failures``, which only doing it tells.
    entries : tuple of (Entry, tuple of str or None)
        The images, each with the variants wanted of it (None: all).
    retry_only : bool
        Every output of it has failed before, on the same input: if it fails again, nothing is committed.
    outdated : collection of str
        What lies there of earlier versions of these images: what is not written again is deleted.
    """

    part: PartName
    entries: tuple[tuple[Entry, tuple[str, ...] | None], ...]
    retry_only: bool = False
    outdated: Collection[str] = ()

    def outputs(self, variants: int) -> int:
        """Return how many outputs it asks for, where a recipe has that many variants."""
        return sum(variants if wanted is None else len(wanted) for _, wanted in self.entries)


@dataclass(frozen=True)
class Work:
    """A run, planned.

    Parameters
    ----------
    fingerprint : str
        Of the target it was planned for.
    files : dict of str to bytes
        What the run's record becomes, by name, in the order of writing; empty if nothing changes.
    blocks : list of BlockWork
        What is left to do.
    there : int
        Outputs of this dataset and recipe that are there already.
    overwrite : bool
        What the manifest lists is to be deleted first.
    """

    fingerprint: str
    files: Mapping[str, bytes] = field(repr=False)
    blocks: Sequence[BlockWork] = field(repr=False)
    there: int = 0
    overwrite: bool = False


def plan_work(store: Store, job: Job, entries: Iterable[Entry], *, overwrite: bool = False) -> Work:
    """Compare what is asked for with what the target holds.

    Parameters
    ----------
    store : Store
        The target.
    job : Job
        What is to be made.
    entries : iterable of Entry
        Of which images.
    overwrite : bool
        Plan as if the target were empty.

    Raises
    ------
    RecipeError
        If the target holds outputs of another recipe, with the difference.
    """
    state = read_state(store)
    mark, overwrite = state.fingerprint, overwrite or state.half_deleted
    if overwrite:
        state = TargetState(None, {}, {}, mark)
    _check_extends(store, state, job)
    wanted = {entry.key: entry for entry in entries}
    inputs, changed = _assign_blocks(state, wanted, job.block_images)
    blocks, leaf_sets = _blocks_left(store, state, job, wanted, inputs)
    variants = len(job.plan.tree)
    asked = sum(block.outputs(variants) for block in blocks)
    files = _record_files(state, job, changed, leaf_sets)
    return Work(mark, files, blocks, len(wanted) * job.per_image - asked, overwrite)


def _check_extends(store: Store, state: TargetState, job: Job) -> None:
    if state.record is None:
        return
    now = job.spec()
    for name in ("seed", "encoder", "device"):
        if state.record[name] != now[name]:
            raise _another_recipe(store, f"its {name} is {state.record[name]!r}, this run's is {now[name]!r}")
    gone = [v for v, leaf_id in state.leaf_ids.items() if job.leaf_ids.get(v) != leaf_id]
    if gone:
        missing = [variant for variant in gone if variant not in job.leaf_ids]
        what = f"variants this recipe has not: {missing[:5]}" if missing else f"variants made otherwise: {gone[:5]}"
        more = len(missing or gone) - 5
        raise _another_recipe(store, what + (f" and {more} more" if more > 0 else ""))


def _another_recipe(store: Store, difference: str) -> RecipeError:
    return RecipeError(
        f"{store.url} holds the outputs of another recipe: {difference}. Write to another target, or pass "
        "overwrite=True to delete what its manifest lists and start anew"
    )


def _assign_blocks(
    state: TargetState, wanted: Mapping[str, Entry], block_images: int
) -> tuple[dict[str, RecordedInput], list[RecordedInput]]:
    """Return all inputs with their blocks, and those that are new or have changed."""
    inputs = dict(state.inputs)
    changed = []
    for key, entry in wanted.items():
        before = inputs.get(key)
        if before is not None and before.differs(entry):
            since = _next_serial(state.parts.get(before.block, []))
            inputs[key] = RecordedInput(before.block, key, entry.size, entry.etag, entry.labels, since)
            changed.append(inputs[key])
    first = 1 + max((one.block for one in state.inputs.values()), default=-1)
    new = [entry for key, entry in wanted.items() if key not in state.inputs]
    for place, entry in enumerate(new):
        block = first + place // block_images
        inputs[entry.key] = RecordedInput(block, entry.key, entry.size, entry.etag, entry.labels)
        changed.append(inputs[entry.key])
    return inputs, changed


def _next_serial(parts: Sequence[PartName]) -> int:
    return 1 + max((part.serial for part in parts), default=-1)


def _blocks_left(
    store: Store,
    state: TargetState,
    job: Job,
    wanted: Mapping[str, Entry],
    inputs: Mapping[str, RecordedInput],
) -> tuple[list[BlockWork], dict[str, dict[str, str]]]:
    """Return what is left of each block, and the sets of variants that the parts will name."""
    by_block: dict[int, list[RecordedInput]] = defaultdict(list)
    for one in inputs.values():
        by_block[one.block].append(one)
    known_sets: Mapping[str, Mapping[str, str]] = state.record["leaf_sets"] if state.record else {}
    variants = job.plan.tree.variants
    left, new_sets = [], {}
    for block, members in sorted(by_block.items()):
        listed = [wanted[one.key] for one in members if one.key in wanted]
        if not listed:
            continue
        mark = digest([[one.key, one.size, one.etag, one.labels, one.since] for one in members], size=4)
        parts = state.parts.get(block, [])
        regular = [p for p in parts if p.inputs == mark and p.leaves in known_sets and not p.failures]
        serial = _next_serial(parts)
        covered = {variant for part in regular for variant in known_sets[part.leaves]}
        missing = tuple(variant for variant in variants if variant not in covered)
        # A part of other inputs, or with failures, has made the outputs of an older one its own: only rows tell.
        by_row = len(regular) < len(parts)
        if not missing and not by_row:
            continue
        leaves = leaves_digest(job.leaf_ids, missing)
        if missing:
            new_sets[leaves] = {variant: job.leaf_ids[variant] for variant in missing}
        if by_row or job.picks is not None or len(listed) < len(members):
            work = _by_row(store, parts, PartName(block, serial, mark, SOME), listed, inputs, job)
            left += [work] if work.entries else []
            continue
        asked = None if len(missing) == len(variants) else missing
        left.append(BlockWork(PartName(block, serial, mark, leaves), tuple((e, asked) for e in listed)))
    return left, new_sets


def _by_row(
    store: Store,
    parts: Sequence[PartName],
    new: PartName,
    listed: Sequence[Entry],
    inputs: Mapping[str, RecordedInput],
    job: Job,
) -> BlockWork:
    """Read a block's rows to see what is left of it: an input has changed or gone, or something failed."""
    rows: dict[tuple[str, str], tuple[str, list[str], int]] = {}
    names = ["key", "variant", "status", "output", "masks"]
    for part in oldest_first(parts):
        table = from_parquet(store.read(f"{PARTS}/{part}"), names)
        for key, variant, status, output, masks in zip(*(table[n].to_pylist() for n in names), strict=True):
            rows[key, variant] = (status, files_of(output, masks), part.serial)
    entries, retry_only = [], True
    outdated: list[str] = []
    for entry in listed:
        asked = []
        for variant in job.wanted(entry.key) or job.plan.tree.variants:
            status, files, serial = rows.get((entry.key, variant), ("", [], -1))
            stale = serial < inputs[entry.key].since
            if stale or status != OK:
                asked.append(variant)
                retry_only = retry_only and not stale
                outdated += files
        if asked:
            entries.append((entry, tuple(asked)))
    return BlockWork(new, tuple(entries), retry_only, tuple(outdated))


def _record_files(
    state: TargetState,
    job: Job,
    changed: Sequence[RecordedInput],
    leaf_sets: Mapping[str, Mapping[str, str]],
) -> dict[str, bytes]:
    """Return the new inputs and the new run record, in the order in which they must be written."""
    files: dict[str, bytes] = {}
    names = list(state.record["inputs"]) if state.record else []
    if changed:
        names.append(f"inputs-{len(names):05d}.parquet")
        files[f"{RECORD_FOLDER}/{names[-1]}"] = to_parquet(changed, _INPUT_COLUMNS)
    record = {
        "format_version": FORMAT_VERSION,
        **job.spec(),
        "environment": state.record["environment"] if state.record else environment(),
        "leaf_sets": {**(state.record["leaf_sets"] if state.record else {}), **leaf_sets},
        "inputs": names,
    }
    if state.record != record:
        files[RUN_RECORD] = json.dumps(record, indent=1).encode()
    return files


def delete_outputs(store: Store, go_on: Callable[[], None]) -> None:
    """Delete every output that the manifest lists, then the record itself; what else lies there stays.

    The record says so first: a run that is stopped in the middle leaves outputs that are gone and rows that are not,
    and the next one must go on deleting. `go_on` is called before each step, and raises if the run was given up.
    """
    go_on()
    if store.exists(RUN_RECORD):
        store.write(RUN_RECORD, json.dumps({"format_version": FORMAT_VERSION, "deleting": True}).encode())
    for name in store.list(PARTS):
        go_on()
        if PartName.parse(name) is not None:
            table = from_parquet(store.read(f"{PARTS}/{name}"), ["output", "masks"])
            for output, masks in zip(table["output"].to_pylist(), table["masks"].to_pylist(), strict=True):
                store.delete(files_of(output, masks))
            store.delete([f"{PARTS}/{name}"])
    go_on()
    inputs = [name for name in store.list(RECORD_FOLDER) if name.startswith("inputs-")]
    store.delete(f"{RECORD_FOLDER}/{name}" for name in inputs)
    store.delete([RUN_RECORD])
