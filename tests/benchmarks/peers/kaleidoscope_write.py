"""Kaleidoscope as its README says: read_images, augment, write.

Modes: ``threads`` (no client), ``one-thread``, ``cluster-1`` (ks.cluster.local with one process of all threads),
``cluster-2`` (a process of one thread on each core).
"""

from __future__ import annotations

import importlib
from typing import Any

from timing import DRAWN, QUALITY, SMALL_HEIGHT, SMALL_WIDTH, Clock, Task, report, task

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.targets import Targets

#: What a first write would load: imports are not timed, and Kaleidoscope's door opens as it is gone through.
LATE = ("kaleidoscope.augmented", "kaleidoscope.labels", "distributed", "pandas", "pyarrow.parquet")


def recipe(job: str) -> Any:
    """Return the ops of a job."""
    if job == "B":
        return ops.Resize(height=SMALL_HEIGHT, width=SMALL_WIDTH, area_for_downscale="image")
    flip = ops.Sometimes(ops.HorizontalFlip())
    if job == "C":
        move = ops.Affine(scale=(0.8, 1.2), rotate=(-10, 10), translate_percent=(-0.1, 0.1))
        colours = (ops.RandomBrightnessContrast(), ops.HueSaturationValue(), ops.GaussNoise(std_range=(0.02, 0.05)))
        return ops.Repeat(ops.Sequential(flip, move, *colours), DRAWN)
    if job == "D":
        move = ops.Affine(scale=(0.9, 1.1), rotate=(-10, 10))
        return ops.Repeat(ops.Sequential(flip, move, ops.RandomBrightnessContrast(), ops.GaussianBlur()), DRAWN)
    return [
        ops.HorizontalFlip(),
        ops.Rotate(limit=15),
        ops.HueSaturationValue(),
        ops.RandomBrightnessContrast(),
        ops.GaussianBlur(),
        ops.GaussNoise(std_range=(0.02, 0.08)),
    ]


def as_targets(boxes: list[list[int]]) -> Targets:
    """Return the objects of an image."""
    return Targets(boxes=[box[:4] for box in boxes], classes=[box[4] for box in boxes])


def write(given: Task, threads: int | None = None) -> int:
    """Write all variants; return how many."""
    labels = ks.labels.Masks(given.masks) if given.job == "D" else None
    images = ks.read_images(given.inputs, labels=labels)
    if given.job == "C":
        images = images.with_targets({key: as_targets(boxes) for key, boxes in given.boxes.items()})
    views = ks.augment(images, recipe(given.job), seed=7)
    run = views.write(given.outputs, format="png" if given.job == "D" else "jpg", quality=QUALITY)
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
    for late in LATE:
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
