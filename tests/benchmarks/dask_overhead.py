"""What Dask costs: planning a large job, and running ten thousand partitions that do next to nothing.

``python tests/benchmarks/dask_overhead.py`` prints both. In the second, a bare ``client.map`` of as many calls stands
beside ours, in turns: what the scheduler can do at all.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from distributed import Client, wait

import kaleidoscope as ks
from kaleidoscope import ops

#: Outputs of each image of job A, and how many of them two cores write in a second (docs/performance.md).
VARIANTS, RATE = 64, 900


def six() -> list[ops.Op]:
    """Return the ops of job A."""
    return [
        ops.HorizontalFlip(),
        ops.Rotate(limit=15),
        ops.HueSaturationValue(),
        ops.RandomBrightnessContrast(),
        ops.GaussianBlur(),
        ops.GaussNoise(std_range=(0.02, 0.08)),
    ]


def make_images(folder: Path, count: int) -> None:
    """Make one image of 8 x 8 pixels, by many names."""
    folder.mkdir()
    first = folder / "00000.png"
    cv2.imwrite(str(first), np.zeros((8, 8, 3), np.uint8))
    for number in range(1, count):
        (folder / f"{number:05}.png").hardlink_to(first)


@contextmanager
def cluster() -> Iterator[Client]:
    """Start a process for each core."""
    with ks.cluster.local(dashboard=False) as started, started.get_client() as client:
        yield client


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def planning(images: Path, target: Path, count: int) -> None:
    """Print what comes before the first task of job A, and the size of its graph."""
    began = time.perf_counter()
    run = ks.augment(ks.read_images(str(images)), six(), seed=7).write(str(target))
    listed = time.perf_counter()
    graph = run.__dask_graph__()
    planned = time.perf_counter()
    tasks, size = len(graph), len(pickle.dumps(dict(graph)))
    sent = time.perf_counter()
    wall = count * VARIANTS / RATE
    whole = sent - began
    print(
        f"job A, {count:,} images: listed in {listed - began:.2f} s, planned in {planned - listed:.2f} s, "
        f"{tasks:,} tasks of {size / 1e6:.1f} MB pickled in {sent - planned:.2f} s: "
        f"{whole:.2f} s, {100 * whole / wall:.2f}% of the {wall:.0f} s that it takes"
    )


def is_there(path: str) -> bool:
    """Do next to nothing with an image."""
    return bool(path)


def partitions(images: Path, rounds: int) -> None:
    """Print how many partitions a second go through a bag of ours, and through ``client.map``."""
    paths = sorted(map(str, images.glob("*.png")))
    ways: dict[str, Callable[[Client], object]] = {
        "client.map": lambda client: client.map(is_there, paths, pure=False),
        "a bag's keys": lambda client: client.compute(ks.read_images(str(images), partition_size=1)),
        "a bag's images": lambda client: client.compute(
            ks.augment(ks.read_images(str(images), partition_size=1), ops.Sequential())
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            with cluster() as client:
                rates[name].append(len(paths) / timed(lambda way=way, client=client: wait(way(client))))
    for name, several in rates.items():
        print(f"{name}: {statistics.median(several):,.0f} partitions/s")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        make_images(images, given.images)
        planning(images, Path(folder) / "out", given.images)
        partitions(images, given.rounds)


if __name__ == "__main__":
    main()
