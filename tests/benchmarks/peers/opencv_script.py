"""What one writes by hand: OpenCV in a process pool.

Modes for job A: ``plain`` makes each of the 64 subsets from the decoded image, ``shared`` computes each prefix once.
Modes for job B: ``plain`` decodes in full, ``scaled`` lets the JPEG decoder do most of the shrinking.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
from collections.abc import Callable

import cv2
import numpy as np
from timing import QUALITY, SMALL_HEIGHT, SMALL_WIDTH, Clock, Task, name, report, task

Image = np.ndarray

JPEG = [
    *(cv2.IMWRITE_JPEG_QUALITY, QUALITY),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
]


def flip(image: Image) -> Image:
    """Mirror left to right."""
    return cv2.flip(image, 1)


def rotate(image: Image) -> Image:
    """Turn by up to 15 degrees."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), random.uniform(-15, 15), 1)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)


def shift_hsv(image: Image) -> Image:
    """Shift hue, saturation and value."""
    levels = np.arange(256)
    tables = np.empty((1, 256, 3), np.uint8)
    tables[0, :, 0] = (levels + random.uniform(-20, 20)) % 180
    tables[0, :, 1] = np.clip(levels + random.uniform(-30, 30), 0, 255)
    tables[0, :, 2] = np.clip(levels + random.uniform(-20, 20), 0, 255)
    return cv2.cvtColor(cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), tables), cv2.COLOR_HSV2BGR)


def change_brightness(image: Image) -> Image:
    """Change contrast and brightness."""
    return cv2.addWeighted(image, 1 + random.uniform(-0.2, 0.2), image, 0, random.uniform(-0.2, 0.2) * 255)


def blur(image: Image) -> Image:
    """Smooth, with a kernel as large as Albumentations and Kaleidoscope take for this sigma."""
    sigma = random.uniform(0.5, 3)
    size = 2 * int(3.5 * sigma) + 1
    return cv2.GaussianBlur(image, (size, size), sigma)


def add_noise(image: Image) -> Image:
    """Add Gaussian noise."""
    noise = np.empty(image.shape, np.int16)
    std = random.uniform(0.02, 0.08) * 255
    cv2.randn(noise, (0, 0, 0), (std, std, std))  # a plain number would be the first channel's
    return cv2.add(image, noise, dtype=cv2.CV_8U)


OPS: dict[str, Callable[[Image], Image]] = {
    "hflip": flip,
    "rotate": rotate,
    "hsv": shift_hsv,
    "brightness": change_brightness,
    "blur": blur,
    "noise": add_noise,
}
SUBSETS = [some for n in range(len(OPS) + 1) for some in itertools.combinations(OPS, n)]


def write(image: Image, path: str) -> None:
    """Write a JPEG."""
    _, data = cv2.imencode(".jpg", image, JPEG)
    with open(path, "wb") as file:
        file.write(data)


def all_variants(path: str, outputs: str) -> int:
    """Write the 64 variants, each made from the image."""
    image = cv2.imread(path)
    for subset in SUBSETS:
        variant = image
        for op in subset:
            variant = OPS[op](variant)
        write(variant, name(path, outputs, "-".join(subset) or "original"))
    return len(SUBSETS)


def all_variants_shared(path: str, outputs: str) -> int:
    """Write the 64 variants, each made from the one that lacks its last op."""

    def descend(image: Image, done: tuple[str, ...], left: list[str]) -> int:
        write(image, name(path, outputs, "-".join(done) or "original"))
        return 1 + sum(descend(OPS[op](image), (*done, op), left[i + 1 :]) for i, op in enumerate(left))

    return descend(cv2.imread(path), (), list(OPS))


def small(path: str, outputs: str) -> int:
    """Write the small version of an image that is decoded in full."""
    shrink(cv2.imread(path), path, outputs)
    return 1


def small_scaled(path: str, outputs: str) -> int:
    """Write the small version of an image that is decoded at 1/8: 500 x 375, the least that is large enough."""
    shrink(cv2.imread(path, cv2.IMREAD_REDUCED_COLOR_8), path, outputs)
    return 1


def shrink(image: Image, path: str, outputs: str) -> None:
    """Write an image in the size of job B."""
    write(cv2.resize(image, (SMALL_WIDTH, SMALL_HEIGHT), interpolation=cv2.INTER_AREA), name(path, outputs, "resize"))


WAYS = {
    ("A", "plain"): all_variants,
    ("A", "shared"): all_variants_shared,
    ("B", "plain"): small,
    ("B", "scaled"): small_scaled,
}
doing: Task


def begin(given: Task) -> None:
    """Prepare a worker: one thread each, and draws of its own (forks would all draw alike)."""
    global doing
    doing = given
    cv2.setNumThreads(1)
    random.seed()
    cv2.setRNGSeed(random.getrandbits(31))


def work(path: str) -> int:
    """Do one image; return how many files that gave."""
    return WAYS[doing.job, doing.mode](path, doing.outputs)


def in_pool(given: Task, begin: Callable[[Task], None], work: Callable[[str], int]) -> tuple[Clock, int]:
    """Run `work` on every input in a pool of processes; return what it took, and the count of outputs."""
    with Clock() as clock, multiprocessing.get_context("fork").Pool(given.workers, begin, (given,)) as pool:
        clock.up()
        paths = given.paths
        outputs = sum(pool.imap_unordered(work, paths, chunksize=max(1, len(paths) // (given.workers * 8))))
        clock.stop()
    return clock, outputs


if __name__ == "__main__":
    report(*in_pool(task(), begin, work), "opencv-python", "opencv-python-headless", "numpy")
