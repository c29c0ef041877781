"""Albumentations in a process pool: 64 pipelines on each decoded image, set up once in each worker.

Albumentations does not share steps between pipelines. Images are RGB for it, as it expects them. For job B the
decoder does most of the shrinking, as for the script: that is OpenCV's part, not the library's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # no call to the network

import albumentations
import cv2
import numpy as np
from opencv_script import in_pool, write
from timing import DRAWN, SMALL_HEIGHT, SMALL_WIDTH, Task, name, report, task


def pipelines(job: str) -> dict[str, albumentations.Compose]:
    """Return the pipelines by the name of what they make."""
    if job == "B":
        shrink = albumentations.Resize(SMALL_HEIGHT, SMALL_WIDTH, interpolation=cv2.INTER_AREA, p=1)
        return {"resize": albumentations.Compose([shrink])}
    if job in {"C", "D"}:
        pipeline = with_boxes() if job == "C" else with_masks()
        return {str(number): pipeline for number in range(DRAWN)}
    ops = {
        "hflip": albumentations.HorizontalFlip(p=1),
        "rotate": albumentations.Rotate(limit=15, p=1),
        "hsv": albumentations.HueSaturationValue(p=1),
        "brightness": albumentations.RandomBrightnessContrast(p=1),
        "blur": albumentations.GaussianBlur(p=1),
        "noise": albumentations.GaussNoise(std_range=(0.02, 0.08), p=1),
    }
    subsets = [[op for bit, op in enumerate(ops) if number >> bit & 1] for number in range(2 ** len(ops))]
    return {"-".join(some) or "original": albumentations.Compose([ops[op] for op in some]) for some in subsets}


def with_boxes() -> albumentations.Compose:
    """Return the pipeline of job C."""
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(scale=(0.8, 1.2), rotate=(-10, 10), translate_percent=(-0.1, 0.1), p=1),
            albumentations.RandomBrightnessContrast(p=1),
            albumentations.HueSaturationValue(p=1),
            albumentations.GaussNoise(std_range=(0.02, 0.05), p=1),
        ],
        bbox_params=albumentations.BboxParams("pascal_voc"),
    )


def with_masks() -> albumentations.Compose:
    """Return the pipeline of job D."""
    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(scale=(0.9, 1.1), rotate=(-10, 10), p=1),
            albumentations.RandomBrightnessContrast(p=1),
            albumentations.GaussianBlur(p=1),
        ]
    )


doing: Task
boxes: dict[str, list[list[int]]]
made: dict[str, albumentations.Compose]


def begin(given: Task) -> None:
    """Prepare a worker: one thread each."""
    global doing, made, boxes
    doing, made = given, pipelines(given.job)
    boxes = given.boxes if given.job == "C" else {}
    cv2.setNumThreads(1)


def work(path: str) -> int:
    """Do one image; return how many files that gave."""
    if doing.job == "D":
        return radiograph(path)
    how = cv2.IMREAD_REDUCED_COLOR_8 if doing.job == "B" else cv2.IMREAD_COLOR
    image = cv2.cvtColor(cv2.imread(path, how), cv2.COLOR_BGR2RGB)
    labels = {"bboxes": np.array(boxes[Path(path).name], dtype=float)} if boxes else {}
    moved = {}
    for variant, pipeline in made.items():
        done = pipeline(image=image, **labels)
        output = name(path, doing.outputs, variant)
        write(cv2.cvtColor(done["image"], cv2.COLOR_RGB2BGR), output)
        moved[output] = done["bboxes"].tolist() if boxes else []
    if boxes:
        Path(doing.outputs, f"{Path(path).stem}.json").write_text(json.dumps(moved), "utf-8")
    return len(made)


def radiograph(path: str) -> int:
    """Do one image of job D and its mask."""
    image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(f"{doing.masks}/{Path(path).name}", cv2.IMREAD_UNCHANGED)
    for variant, pipeline in made.items():
        done = pipeline(image=image, mask=mask)
        output = Path(name(path, doing.outputs, variant)).with_suffix(".png")
        cv2.imwrite(str(output), done["image"])
        cv2.imwrite(str(output.with_suffix(".mask.png")), done["mask"])
    return len(made)


if __name__ == "__main__":
    report(*in_pool(task(), begin, work), "albumentations", "opencv-python-headless", "numpy")
