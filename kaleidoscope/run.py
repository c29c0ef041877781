"""A run, planned: what it adds to the record of its target, and the work that is left.

The target is read before a run, and written only under the lease.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kaleidoscope.block_work import BlockWork, NewBlocks, inputs_digest
from kaleidoscope.entries import Entries, Entry
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.job import Job, environment, leaves_digest
from kaleidoscope.manifest import ANEW, OK, SOME, PartName, files_of, from_parquet, oldest_first
from kaleidoscope.sinks import masked, output_name
from kaleidoscope.sources import RECORD_FOLDER
from kaleidoscope.storage import Store
from kaleidoscope.target import (
    FORMAT_VERSION,
    PARTS,
    RUN_RECORD,
    RecordedInput,
    ShardsThere,
    TargetState,
    absent_text,
    read_state,
    sample_record,
)

#: What rows say of a block: of each output its status, the objects it lies in, and the serial of its part.
_Rows = Mapping[tuple[str, str], tuple[str, list[str], int]]


@dataclass(frozen=True)
class Work:
    """A run, planned.

    Parameters
    ----------
    fingerprint : str
        Of the target it was planned for.
    files : dict of str to bytes
        What the run's record becomes, by name, in the order of writing; empty if nothing changes.
    inputs : str
        The name of a file to be written before those, with the inputs that are new or have changed; empty if none.
    changed : list of RecordedInput
        Those that have changed.
    blocks : list of BlockWork
        What is left to do of those that the target knows.
    new : NewBlocks
        Those that it does not.
    asked : int
        Images that outputs are wanted of.
    there : int
        Outputs of them and of this recipe that are there already.
    overwrite : bool
        What the manifest lists is to be deleted first.
    litter : sequence of str
        Shards that no part has the rows of, to be deleted first: whoever reads all shards must not find them.
    """

    fingerprint: str
    files: Mapping[str, bytes] = field(repr=False)
    inputs: str
    changed: Sequence[RecordedInput] = field(repr=False)
    blocks: Sequence[BlockWork] = field(repr=False)
    new: NewBlocks = field(repr=False)
    asked: int = 0
    there: int = 0
    overwrite: bool = False
    litter: Sequence[str] = ()


def plan_work(store: Store, job: Job, entries: Entries, *, overwrite: bool = False, only_failed: bool = False) -> Work:
    """Compare what is asked for with what the target holds.

    Parameters
    ----------
    store : Store
        The target.
    job : Job
        What is to be made.
    entries : Entries
        Of which images.
    overwrite : bool
        Plan as if the target were empty.
    only_failed : bool
        Plan only for images of which something has failed, and of those only the variants that were tried.

    Raises
    ------
    RecipeError
        If the target holds outputs of another recipe, with the difference.
    StoreError
        If only what has failed is to be tried again, and nothing was tried yet.
    """
    state = read_state(store, overwrite=overwrite)
    overwrite = overwrite or state.half_deleted
    if only_failed and state.record is None:
        raise StoreError(
            f"nothing can have failed in {store.url}: no run was there. Write without "
            "only_failed=True, or --only-failed on the command line"
        )
    _check_extends(store, state, job)
    if any(one.labels for one in state.inputs.values()) and not entries.are_labelled:
        raise RecipeError(
            f"{store.url} holds outputs with labels, and these images have none: give the labels again, or "
            "start anew without by overwrite=True, --overwrite on the command line"
        )
    known = np.array([key in state.inputs for key in entries.keys.tolist()] if state.inputs else [], bool)
    wanted = {entry.key: entry for entry in entries.taken(known)} if len(known) else {}
    asked = _that_failed(store, state, wanted) if only_failed else _Asked(wanted, wanted, len(wanted) * job.per_image)
    inputs, changed = _compare(state, asked.images)
    shards = ShardsThere.of(store, state, sharded=job.layout.sharded)
    blocks, leaf_sets = _blocks_left(store, state, job, asked, inputs, shards)
    if state.labelled and blocks and not job.layout.sharded:
        blocks = _with_masks_there(store, job, blocks)
    others = entries.taken(~known) if len(known) else entries
    new = _new_blocks(state, job, others[:0] if only_failed else others)
    if len(new):
        leaf_sets[leaves_digest(job.leaf_ids, job.leaf_ids)] = dict(job.leaf_ids)
    # A block that is written anew may hold more of an image, and more images, than are asked for now.
    left = [w for block in blocks for entry, w in block.entries if entry.key in asked.images]
    there = asked.outputs - sum(min(len(w or job.plan.tree), job.per_image) for w in left)
    names = list(state.record["inputs"]) if state.record else []
    inputs_name = f"inputs-{len(names):05d}.parquet" if changed or len(new) else ""
    names += [inputs_name] if inputs_name else []
    spec = None
    if not only_failed:
        absent = absent_text(state, wanted)
        spec = {**job.spec(), **sample_record(job), **({"absent": absent} if absent else {})}
    files = _record_files(state, spec, names, leaf_sets)
    path = inputs_name and f"{RECORD_FOLDER}/{inputs_name}"
    images = len(asked.images) + len(new.entries)
    return Work(state.fingerprint, files, path, changed, blocks, new, images, there, overwrite, shards.litter)


@dataclass(frozen=True)
class _Asked:
    """What a run is asked for: some of all images, so many outputs, and whether only such as were tried before."""

    images: Mapping[str, Entry]
    among: Mapping[str, Entry]
    outputs: int
    only_tried: bool = False


def _that_failed(store: Store, state: TargetState, wanted: Mapping[str, Entry]) -> _Asked:
    """Ask for the images of which something has failed."""
    failed: dict[str, Entry] = {}
    tried = 0
    for parts in state.parts.values():
        if any(part.failures for part in parts):
            rows = _read_rows(store, parts)
            keys = {key for (key, _), (status, _, _) in rows.items() if status != OK and key in wanted}
            failed |= {key: wanted[key] for key in keys}
            tried += sum(key in keys for key, _ in rows)
    return _Asked(failed, wanted, tried, only_tried=True)


def _check_extends(store: Store, state: TargetState, job: Job) -> None:
    if state.record is None:
        return
    now = job.spec()
    layout = state.record.get("layout", "files")
    if layout != now["layout"]:
        raise RecipeError(
            f"{store.url} holds outputs in the layout {layout!r}, this run's is {now['layout']!r}: write with "
            f"layout={layout!r}, to another target, or delete what its manifest lists by overwrite=True, "
            "--overwrite on the command line"
        )
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
        f"{store.url} holds the outputs of another recipe: {difference}. Write to another target, or delete "
        "what its manifest lists and start anew by overwrite=True, --overwrite on the command line"
    )


def _compare(
    state: TargetState, wanted: Mapping[str, Entry]
) -> tuple[Mapping[str, RecordedInput], list[RecordedInput]]:
    """Return the known inputs as they are now, and those of them that have changed."""
    inputs = dict(state.inputs)
    changed = []
    for key, entry in wanted.items():
        before = inputs[key]
        if before.differs(entry):
            since = _next_serial(state.parts.get(before.block, []))
            inputs[key] = RecordedInput(before.block, key, entry.size, entry.etag, entry.labels, since)
            changed.append(inputs[key])
    return inputs, changed


def _new_blocks(state: TargetState, job: Job, entries: Entries) -> NewBlocks:
    first = 1 + max((one.block for one in state.inputs.values()), default=-1)
    leaves = leaves_digest(job.leaf_ids, job.leaf_ids) if job.picks is None else SOME
    return NewBlocks(entries, first, job.block_images, leaves)


def _next_serial(parts: Sequence[PartName]) -> int:
    return 1 + max((part.serial for part in parts), default=-1)


def _blocks_left(
    store: Store,
    state: TargetState,
    job: Job,
    asked: _Asked,
    inputs: Mapping[str, RecordedInput],
    shards: ShardsThere,
) -> tuple[list[BlockWork], dict[str, dict[str, str]]]:
    """Return what is left of each block, and the sets of variants that the parts will name."""
    by_block: dict[int, list[RecordedInput]] = defaultdict(list)
    for one in inputs.values():
        by_block[one.block].append(one)
    known_sets: Mapping[str, Mapping[str, str]] = state.record["leaf_sets"] if state.record else {}
    variants = job.plan.tree.variants
    left, new_sets = [], {}
    for block, members in sorted(by_block.items()):
        listed = [asked.images[one.key] for one in members if one.key in asked.images]
        if not listed:
            continue
        mark = inputs_digest((one.key, one.size, one.etag, one.labels, one.since) for one in members)
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
        if missing and not asked.only_tried:
            new_sets[leaves] = {variant: job.leaf_ids[variant] for variant in missing}
        if by_row or job.picks is not None or len(listed) < len(members):
            rows = _read_rows(store, parts)
            shards.check(block, {name for _, files, _ in rows.values() for name in files})
            known = rows.keys() if asked.only_tried else None
            work = _by_row(rows, PartName(block, serial, mark, SOME), listed, inputs, job, known)
            if job.layout.sharded and _some_outdated(rows, work, inputs):
                beside = [asked.among[one.key] for one in members if one.key in asked.among]
                work = _anew(rows, work.part, beside, job, shards, known)
            left += [work] if work.entries else []
            continue
        variants_left = None if len(missing) == len(variants) else missing
        left.append(BlockWork(PartName(block, serial, mark, leaves), tuple((e, variants_left) for e in listed)))
    return left, new_sets


def _read_rows(store: Store, parts: Sequence[PartName]) -> _Rows:
    rows = {}
    names = ["key", "variant", "status", "output", "masks", "shard"]
    for part in oldest_first(parts):
        for row in from_parquet(store.read(f"{PARTS}/{part}"), names).to_pylist():
            files = files_of(row["output"], row["masks"], row.get("shard"))  # an older version's have no shards
            rows[row["key"], row["variant"]] = (row["status"], files, part.serial)
    return rows


def _by_row(
    rows: _Rows,
    new: PartName,
    listed: Sequence[Entry],
    inputs: Mapping[str, RecordedInput],
    job: Job,
    known: Collection[tuple[str, str]] | None,
) -> BlockWork:
    """See from a block's rows what is left of it, or of the `known` outputs: an input has changed, something failed."""
    entries, retry_only = [], True
    outdated: list[str] = []
    for entry in listed:
        asked = []
        for variant in job.wanted(entry.key) or job.plan.tree.variants:
            if known is not None and (entry.key, variant) not in known:
                continue
            status, files, serial = rows.get((entry.key, variant), ("", [], -1))
            stale = serial < inputs[entry.key].since
            if stale or status != OK:
                asked.append(variant)
                retry_only = retry_only and not stale
                outdated += files
        if asked:
            entries.append((entry, tuple(asked)))
    return BlockWork(new, tuple(entries), retry_only, tuple(outdated))


def _some_outdated(rows: _Rows, work: BlockWork, inputs: Mapping[str, RecordedInput]) -> bool:
    """Whether a shard holds outputs of an image as it was before it changed, and the image is to be made anew."""
    keys = {entry.key for entry, _ in work.entries}
    return any(
        status == OK and key in keys and serial < inputs[key].since for (key, _), (status, _, serial) in rows.items()
    )


def _anew(
    rows: _Rows,
    new: PartName,
    listed: Sequence[Entry],
    job: Job,
    shards: ShardsThere,
    known: Collection[tuple[str, str]] | None,
) -> BlockWork:
    """Ask for a block as a whole, which takes the place of all its shards: whoever reads those reads no manifest.

    Beside what is asked for now it has what it had before of the images that are still there.
    """
    there = defaultdict(set)
    for (key, variant), (status, _, _) in rows.items():
        if status == OK:
            there[key].add(variant)
    entries = []
    for entry in listed:
        wanted, variants = job.wanted(entry.key), job.plan.tree.variants
        both = there[entry.key].union(wanted or variants)
        asked = tuple(v for v in variants if v in both and (known is None or (entry.key, v) in known))
        if asked:
            entries.append((entry, None if len(asked) == len(variants) else asked))
    outdated = tuple(str(shard) for shard in shards.by_block.get(new.block, ()))
    return BlockWork(replace(new, leaves=ANEW), tuple(entries), outdated=outdated)


def _with_masks_there(store: Store, job: Job, blocks: Sequence[BlockWork]) -> list[BlockWork]:
    """Add to what is outdated the masks that lie there of these outputs: no row may tell of them.

    Labels may have changed since a run wrote them and was killed before it committed: other masks have other names.
    """
    there: dict[str, list[str]] = defaultdict(list)
    for name in store.find():
        stem = masked(name)
        if stem is not None:
            there[stem].append(name)
    if not there:
        return list(blocks)
    return [replace(block, outdated=(*block.outdated, *_masks_of(block, job, there))) for block in blocks]


def _masks_of(block: BlockWork, job: Job, there: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for entry, wanted in block.entries:
        for variant in wanted or job.plan.tree.variants:
            output = output_name(entry.key, variant, job.encoder.extension)
            yield from there.get(output.removesuffix(f".{job.encoder.extension}"), ())


def _record_files(
    state: TargetState,
    spec: Mapping[str, Any] | None,
    inputs: Sequence[str],
    leaf_sets: Mapping[str, Mapping[str, str]],
) -> dict[str, bytes]:
    """Return the new run record, if it changes. Without a `spec` what is recorded of the recipe stays."""
    record = {
        "format_version": FORMAT_VERSION,
        **(spec or state.record or {}),
        "environment": state.record["environment"] if state.record else environment((spec or {}).get("device", "cpu")),
        "leaf_sets": {**(state.record["leaf_sets"] if state.record else {}), **leaf_sets},
        "inputs": list(inputs),
    }
    return {RUN_RECORD: json.dumps(record, indent=1).encode()} if state.record != record else {}
