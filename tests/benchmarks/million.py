"""What a million keys cost the client: listing, bag, variants, the graph of a write, and a write that goes on.

``python tests/benchmarks/million.py`` runs each of these in a process of its own and prints processor time, peak
memory, tasks, and what would be sent to the scheduler. No image is there: listings and indices are generated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.bag import _bag_of
from kaleidoscope.blocks import Order, open_run
from kaleidoscope.entries import Entries, texts
from kaleidoscope.listing import Listing

#: Images of a folder, as many datasets have them.
FOLDER = 1000


def generated(count: int) -> Listing:
    """Return a listing of JPEGs of 90 KB in a bucket, with etags that have no pattern, as S3's."""
    keys = (f"train/{number // FOLDER:05d}/{number:08d}.jpg" for number in range(count))
    etags = (hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest() for number in range(count))
    sizes = 90_000 + np.arange(count) * 7919 % 5000
    return Listing(Entries(texts(keys), "s3://bucket/raw/", sizes, texts(etags)), "s3://bucket/raw")


def index_of(listing: Listing, path: Path) -> None:
    """Write a listing as a Parquet index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys, _, sizes, etags, _ = listing.entries.lists()
    pq.write_table(pa.table({"key": keys, "size": sizes, "etag": etags}), path)


def recipe(count: int) -> list[ops.Op]:
    """Return so many of the six ops of the README."""
    six = [ops.HorizontalFlip, ops.Rotate, ops.HueSaturationValue, ops.RandomBrightnessContrast, ops.GaussianBlur]
    return [op() for op in (*six, ops.GaussNoise)[:count]]


def peak() -> float:
    """Return the most memory that this process had so far, in MB."""
    said = Path("/proc/self/status").read_text("ascii")
    return float(said.partition("VmHWM:")[2].split()[0]) / 1000


def steps(count: int, ops_count: int, folder: Path, *, index: bool) -> dict[str, Any]:
    """Go through all steps; return the seconds of processor time of each, and what came of it."""
    found: dict[str, Any] = {}
    if index:
        dataset_of = lambda: ks.read_images(folder / "index.parquet", root="s3://bucket/raw")  # noqa: E731
    else:
        listing = generated(count)
        dataset_of = lambda: _bag_of(listing, None)  # noqa: E731
    found["MB before"] = peak()
    began = time.process_time()

    def done(step: str) -> None:
        nonlocal began
        found[step] = time.process_time() - began
        began = time.process_time()

    dataset = dataset_of()
    done("read_images, s")
    views = ks.augment(dataset, recipe(ops_count), seed=7)
    done("augment, s")
    run = views.write(folder / "out")
    graph = run.__dask_graph__()
    done("write's graph, s")
    found["MB after"] = peak()
    found["MB sent"] = len(pickle.dumps(graph)) / 1e6
    found["block tasks"] = len(run._planned().blocks)
    found["tasks"] = len(graph)
    if ops_count < 3:  # of the power set of six each image is a partition
        optimized = views.__dask_optimize__(views.__dask_graph__(), views.__dask_keys__())
        found["bag's tasks"] = len(optimized)
        found["MB sent of the bag"] = len(pickle.dumps(optimized)) / 1e6
    return found


def going_on(count: int, folder: Path) -> dict[str, Any]:
    """Plan a write on a target that knows all of the inputs, and has done none of the blocks."""
    views = ks.augment(_bag_of(generated(count), None), recipe(1), seed=7)
    graph = views.write(folder / "known").__dask_graph__().to_dict()
    opening = next(task for task in graph.values() if task.func is open_run)
    order: Order = opening.args[0]
    open_run(order, *(graph[ref.key]() for ref in opening.args[1:])).lease.release()
    record = folder / "known" / "_kaleidoscope" / "inputs-00000.parquet"
    before = time.process_time()
    tasks = len(views.write(folder / "known").__dask_graph__())
    return {
        "plan, s": time.process_time() - before,
        "tasks": tasks,
        "MB after": peak(),
        "inputs file, MB": record.stat().st_size / 1e6,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--one", help="for a process of its own: what to do, as JSON")
    options = parser.parse_args()
    if options.one:
        what = json.loads(options.one)
        folder = Path(what.pop("folder"))
        goes_on = what.pop("going_on", False)
        found = going_on(what["count"], folder) if goes_on else steps(folder=folder, **what)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        index_of(generated(options.count), Path(folder) / "index.parquet")
        common = {"count": options.count, "folder": folder}
        for name, what in {
            "a listing, 2 variants": {"ops_count": 1, "index": False},
            "a listing, 64 variants": {"ops_count": 6, "index": False},
            "an index, 64 variants": {"ops_count": 6, "index": True},
            "going on": {"going_on": True},
        }.items():
            command = [sys.executable, __file__, "--one", json.dumps({**common, **what})]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            print(f"{options.count:,} keys, {name}:")
            for each, value in json.loads(said).items():
                print(f"  {each:20} {value:12,.2f}" if isinstance(value, float) else f"  {each:20} {value:12,}")


if __name__ == "__main__":
    main()
