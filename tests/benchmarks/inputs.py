"""The images that the jobs start from, made of the package's sample photographs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from kaleidoscope import samples

Image = np.ndarray

#: Height and width: a crop for job A, 12 megapixels for job B.
SIZES = {"A": (512, 512), "B": (3000, 4000)}
#: Large images that differ; more of them are the same files by other names: making one takes longer than any
#: contender does.
DISTINCT = 12
QUALITY = 92


def make_inputs(job: str, folder: Path, count: int) -> None:
    """Write the JPEGs of a job.

    In colour only: decoded by OpenCV's default a grey one has three channels, so that the peers would do three times
    what Kaleidoscope does.
    """
    folder.mkdir(parents=True)
    photographs = [cv2.imread(str(path)) for path in sorted(samples.folder().glob("*.jpg"))]
    height, width = SIZES[job]
    for index in range(count):
        path = folder / f"{index:05}.jpg"
        if job == "B" and index >= DISTINCT:
            path.hardlink_to(folder / f"{index % DISTINCT:05}.jpg")
            continue
        rng = np.random.default_rng(index)
        image = cut_out(photographs[index % len(photographs)], height, width, rng)
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def cut_out(photograph: Image, height: int, width: int, rng: np.random.Generator) -> Image:
    """Return a part of a photograph, which is continued by its mirror images where it is too small.

    At twice its size for 12 megapixels: neither as smooth as one that is enlarged to fit, nor as full of detail as
    a mosaic.
    """
    if height > 2 * photograph.shape[0]:
        photograph = cv2.resize(photograph, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    top, left = rng.integers(photograph.shape[0]), rng.integers(photograph.shape[1])
    rows, columns = (
        np.abs((np.arange(size) + start + length) % (2 * length) - length).clip(0, length - 1)
        for size, start, length in zip((height, width), (top, left), photograph.shape[:2], strict=True)
    )
    return photograph[rows][:, columns]
