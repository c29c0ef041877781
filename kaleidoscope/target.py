"""What a target holds: the run record, the inputs it knows, and the parts of its manifest.

``_kaleidoscope/run.json`` says what was asked for; ``inputs-N.parquet`` which keys belong to which block; the names of
the parts under ``manifest/`` which blocks are done.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.block_work import NewBlocks
from kaleidoscope.entries import Entry
from kaleidoscope.errors import StoreError
from kaleidoscope.job import Job, digest, drawn
from kaleidoscope.layouts import ShardName
from kaleidoscope.manifest import PartName, chunks_to_parquet, files_of, from_parquet, that_count
from kaleidoscope.sources import RECORD_FOLDER
from kaleidoscope.storage import Store, store_errors

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

RUN_RECORD = f"{RECORD_FOLDER}/run.json"
PARTS = f"{RECORD_FOLDER}/manifest"
#: 2: inputs have their labels, and rows their objects and masks.
FORMAT_VERSION = 2

INPUT_COLUMNS = {
    "block": "int32",
    "key": "string",
    "size": "int64",
    "etag": "string",
    "labels": "string",
    "since": "int32",
}


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
        The committed manifest parts that count, by block.
    fingerprint : str
        Changes whenever another run has written here.
    half_deleted : bool
        An overwriting run was stopped while it deleted what was here; what is left of it counts for nothing.
    labelled : bool
        Some image here has, or had, labels.
    """

    record: Mapping[str, Any] | None
    inputs: Mapping[str, RecordedInput]
    parts: Mapping[int, list[PartName]]
    fingerprint: str
    half_deleted: bool = False
    labelled: bool = False

    @property
    def leaf_ids(self) -> dict[str, str]:
        """Variant to recipe id, for everything recorded."""
        sets = self.record["leaf_sets"] if self.record else {}
        return {variant: leaf_id for leaves in sets.values() for variant, leaf_id in leaves.items()}


def fingerprint(store: Store) -> str:
    """Return a short text that changes whenever a run writes to this target."""
    record = store.read_if_there(RUN_RECORD)
    return digest([record.decode() if record else "", store.list(PARTS)])


def read_state(store: Store, *, overwrite: bool = False) -> TargetState:
    """Read what a target holds; where it is to be overwritten, nothing.

    Raises
    ------
    StoreError
        If it was written by a newer version, or by an older one and is not to be overwritten.
    """
    mark = fingerprint(store)
    data = store.read_if_there(RUN_RECORD)
    record = json.loads(data) if data else None
    if record is None:
        return TargetState(None, {}, {}, mark)
    if record.get("deleting"):
        return TargetState(None, {}, {}, mark, half_deleted=True)
    version = record["format_version"]
    if version > FORMAT_VERSION or (version < FORMAT_VERSION and not overwrite):
        age, advice = (
            ("a newer", "upgrade to go on with it")
            if version > FORMAT_VERSION
            else (
                "an older",
                "write to another target, or start anew by overwrite=True, --overwrite on the command line",
            )
        )
        raise StoreError(
            f"{store.url} was written by {age} version of Kaleidoscope (record format {version}, this one writes "
            f"{FORMAT_VERSION}): {advice}"
        )
    if overwrite:
        return TargetState(None, {}, {}, mark)
    inputs: dict[str, RecordedInput] = {}
    labelled = False
    for name in record["inputs"]:
        table = from_parquet(store.read(f"{RECORD_FOLDER}/{name}"))
        for values in zip(*(table[column].to_pylist() for column in INPUT_COLUMNS), strict=True):
            one = RecordedInput(*values)
            inputs[one.key] = one
            labelled = labelled or bool(one.labels)
    parts: dict[int, list[PartName]] = defaultdict(list)
    for name in store.list(PARTS):
        part = PartName.parse(name)
        if part is not None:
            parts[part.block].append(part)
    counting = {block: that_count(several) for block, several in parts.items()}
    return TargetState(record, inputs, counting, mark, labelled=labelled)


def bucket_is_missing(store: Store) -> bool:
    """Whether not even the bucket of a target is there, which reading an object does not tell; by one listing.

    Raises
    ------
    StoreError
        If it may not be listed.
    """
    if store.local:
        return False
    with store_errors(f"list {store.url}"):
        try:
            store.fs.find(store.path(f"{RECORD_FOLDER}/nothing"))
        except FileNotFoundError:
            return True
    return False


def absent_text(state: TargetState, wanted: Collection[str]) -> str:
    """Return which inputs that a target knows a run is not asked for, as text: a bit each in the order of them."""
    if len(wanted) == len(state.inputs):
        return ""
    bits = np.packbits([key not in wanted for key in state.inputs])
    return base64.b64encode(zlib.compress(bits.tobytes())).decode()


def sample_record(job: Job) -> dict[str, Any]:
    """Return what the run record says of a job that makes some variants of each image, drawn for it."""
    variants = job.plan.tree.variants
    if job.picks is None or job.picks >= len(variants):
        return {}
    return {"sample": {"picks": job.picks, "variants": list(variants)}}


@dataclass(frozen=True)
class Expected:
    """Which rows an input has when nothing is left to do of it; small, whatever the number of inputs.

    Parameters
    ----------
    variants : frozenset of str
        Of each input.
    since : dict of str to int
        Of inputs that have changed, the part since which rows count.
    drawn : tuple of int, int and sequence of str, optional
        Seed, how many, and of which variants, where those of each input were drawn.
    """

    variants: frozenset[str]
    since: Mapping[str, int]
    drawn: tuple[int, int, Sequence[str]] | None = None

    def done(self, rows: pd.DataFrame) -> NDArray[Any]:
        """Return the keys of which there are all rows, of all that a block has: ``key, variant, serial``.

        Whether they tell of an output or a failure is the same: what has failed was done.
        """
        counts = rows["variant"].isin(self.variants)
        if self.since:
            counts &= rows["serial"] >= rows["key"].map(self.since).fillna(0).astype("int64")
        fresh = rows[counts]
        if self.drawn is None:
            found = fresh.groupby("key")["variant"].nunique()
            done: NDArray[Any] = found.index[found == len(self.variants)].to_numpy(object)
            return done
        seed, picks, variants = self.drawn
        there = fresh.groupby("key")["variant"]
        complete = [key for key, its in there if set(its).issuperset(drawn(seed, str(key), variants, picks))]
        return np.array(complete, object)


def read_asked(store: Store) -> tuple[pd.Index, Expected]:
    """Return the keys of the inputs that the last run of a target was asked for, and what is expected of them.

    These are columns: a million inputs are as many strings. What `plan_work` compares with a source is `read_state`.
    """
    import pandas as pd

    record = json.loads(store.read(RUN_RECORD))
    tables = [
        from_parquet(store.read(f"{RECORD_FOLDER}/{name}"), ["key", "since"]).to_pandas() for name in record["inputs"]
    ]
    known = pd.concat([pd.DataFrame({"key": [], "since": []}), *tables], ignore_index=True)
    newest = known.drop_duplicates("key", keep="last")
    changed = newest[newest["since"] > 0] if "since" in newest else newest[:0]
    keys = pd.Index(known["key"].drop_duplicates())
    if record.get("absent"):
        bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(record["absent"])), np.uint8))
        absent = np.zeros(len(keys), bool)
        absent[: len(bits)] = bits[: len(keys)]
        keys = keys[~absent]
    sets = record.get("leaf_sets", {}).values()
    sample = record.get("sample")
    chosen = (record["seed"], sample["picks"], sample["variants"]) if sample else None
    since = dict(zip(changed["key"], changed["since"].astype(int), strict=True))
    return keys, Expected(frozenset(v for leaves in sets for v in leaves), since, chosen)


def inputs_file(changed: Sequence[RecordedInput], new: Iterable[NewBlocks]) -> bytes:
    """Return the content of a file of inputs: those that have changed, and those of new blocks."""
    columns = {name: [[getattr(one, name) for one in changed]] for name in INPUT_COLUMNS}
    for blocks in new:
        keys, _, sizes, etags, labels = blocks.entries.lists()
        numbers = (np.arange(len(keys)) // blocks.images + blocks.first).tolist()
        several = (numbers, keys, sizes, etags, labels, [0] * len(keys))
        for name, more in zip(INPUT_COLUMNS, several, strict=True):
            columns[name].append(more)
    return chunks_to_parquet(columns, INPUT_COLUMNS, "zstd")


def shards_in(store: Store) -> list[ShardName]:
    """Return the shards that lie in a target, whether a part has their rows or not."""
    found = map(ShardName.parse, store.list(""))
    return sorted(shard for shard in found if shard is not None)


@dataclass(frozen=True)
class ShardsThere:
    """The shards that lie in a target, by block, and those of them that no row tells of."""

    by_block: Mapping[int, Sequence[ShardName]]
    litter: list[str]

    @classmethod
    def of(cls, store: Store, state: TargetState, *, sharded: bool) -> ShardsThere:
        """List them; those of a run that was stopped before it committed are litter by their names."""
        by_block: dict[int, list[ShardName]] = defaultdict(list)
        litter = []
        if sharded and state.record is not None:
            counting = {(part.block, part.serial) for parts in state.parts.values() for part in parts}
            for shard in shards_in(store):
                if (shard.block, shard.serial) in counting:
                    by_block[shard.block].append(shard)
                else:
                    litter.append(str(shard))
        return cls(by_block, litter)

    def check(self, block: int, known: Collection[str]) -> None:
        """Tell what no row of a block tells of: another attempt at it, in which other images failed, has left it."""
        self.litter.extend(name for shard in self.by_block.get(block, ()) if (name := str(shard)) not in known)


def delete_outputs(store: Store, go_on: Callable[[], None]) -> None:
    """Delete every output that the manifest lists, then the record itself; what else lies there stays.

    The record says so first: a run that is stopped in the middle leaves outputs that are gone and rows that are not,
    and the next one must go on deleting. `go_on` is called before each step, and raises if the run was given up.
    """
    go_on()
    if store.exists(RUN_RECORD):
        record = json.loads(store.read(RUN_RECORD))
        deleting = {"format_version": FORMAT_VERSION, "layout": record.get("layout", "files"), "deleting": True}
        store.write(RUN_RECORD, json.dumps(deleting).encode())
        if deleting["layout"] != "files":  # those of a run that was stopped stand in no part
            store.delete(map(str, shards_in(store)))
    for name in store.list(PARTS):
        go_on()
        if PartName.parse(name) is not None:
            for row in from_parquet(store.read(f"{PARTS}/{name}")).to_pylist():
                if not row.get("shard"):  # an older version's have no shards, and no masks
                    store.delete(files_of(row["output"], row.get("masks")))
            store.delete([f"{PARTS}/{name}"])
    go_on()
    inputs = [name for name in store.list(RECORD_FOLDER) if name.startswith("inputs-")]
    store.delete(f"{RECORD_FOLDER}/{name}" for name in inputs)
    store.delete([RUN_RECORD])
