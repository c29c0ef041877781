"""Albumentations in a process pool: 64 pipelines on each decoded image, set up once in each worker.

Albumentations does not share steps between pipelines. Images are RGB for it, as it expects them. For job B the
decoder does most of the shrinking, as for the script: that is OpenCV's part, not the library's.
"""

from __future__ import annotations

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # no call to the network

import albumentations
import cv2
from opencv_script import in_pool, write
from timing import SMALL_HEIGHT, SMALL_WIDTH, Task, name, report, task


def pipelines(job: str) -> dict[str, albumentations.Compose]:
    """Return the pipelines by the name of what they make."""
    if job == "B":
        shrink = albumentations.Resize(SMALL_HEIGHT, SMALL_WIDTH, interpolation=cv2.INTER_AREA, p=1)
        return {"resize": albumentations.Compose([shrink])}
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


doing: Task
made: dict[str, albumentations.Compose]


def begin(given: Task) -> None:
    """Prepare a worker: one thread each."""
    global doing, made
    doing, made = given, pipelines(given.job)
    cv2.setNumThreads(1)


def work(path: str) -> int:
    """Do one image; return how many files that gave."""
    how = cv2.IMREAD_REDUCED_COLOR_8 if doing.job == "B" else cv2.IMREAD_COLOR
    image = cv2.cvtColor(cv2.imread(path, how), cv2.COLOR_BGR2RGB)
    for variant, pipeline in made.items():
        pixels = pipeline(image=image)["image"]
        write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), name(path, doing.outputs, variant))
    return len(made)


if __name__ == "__main__":
    report(*in_pool(task(), begin, work), "albumentations", "opencv-python-headless", "numpy")
