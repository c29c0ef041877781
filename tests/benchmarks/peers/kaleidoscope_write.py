"""Kaleidoscope as its README says: read_images, augment, write.

Modes: ``threads`` (no client), ``one-thread``, ``cluster-1`` (ks.cluster.local with one process of all threads),
``cluster-2`` (a process of one thread on each core).
"""

from __future__ import annotations

import importlib
from typing import Any

from timing import QUALITY, SMALL_HEIGHT, SMALL_WIDTH, Clock, Task, report, task

import kaleidoscope as ks
from kaleidoscope import ops


def recipe(job: str) -> Any:
    """Return the ops of a job."""
    if job == "B":
        return ops.Resize(height=SMALL_HEIGHT, width=SMALL_WIDTH, area_for_downscale="image")
    return [
        ops.HorizontalFlip(),
        ops.Rotate(limit=15),
        ops.HueSaturationValue(),
        ops.RandomBrightnessContrast(),
        ops.GaussianBlur(),
        ops.GaussNoise(std_range=(0.02, 0.08)),
    ]


def write(given: Task, threads: int | None = None) -> int:
    """Write all variants; return how many."""
    views = ks.augment(ks.read_images(given.inputs), recipe(given.job), seed=7)
    run = views.write(given.outputs, format="jpg", quality=QUALITY)
    return int(run.compute(**({"num_workers": threads} if threads else {})).outputs)


def on_cluster(given: Task, clock: Clock, workers: int) -> int:
    """Write all variants on a cluster of so many processes; return how many."""
    with (
        ks.cluster.local(workers, max(1, given.workers // workers), dashboard=False) as cluster,
        cluster.get_client(),
    ):
        clock.up()
        outputs = write(given)
        clock.stop()
    return outputs


def main() -> None:
    """Do what the command line says."""
    given = task()
    for late in ("distributed", "pandas", "pyarrow.parquet"):  # what a first write would load: imports are not timed
        importlib.import_module(late)
    with Clock() as clock:
        if given.mode == "cluster-1":
            outputs = on_cluster(given, clock, 1)
        elif given.mode == "cluster-2":
            outputs = on_cluster(given, clock, given.workers)
        else:
            outputs = write(given, 1 if given.mode == "one-thread" else given.workers)
    report(clock, outputs, "kaleidoscope", "dask", "distributed", "opencv-python", "numpy")


if __name__ == "__main__":
    main()
