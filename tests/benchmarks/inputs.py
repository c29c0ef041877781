"""The images that the jobs start from, made of the package's sample photographs, and what is labelled in them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from kaleidoscope import samples

Image = np.ndarray

#: Height and width: a crop for job A, 12 megapixels for job B, a frame of a film for C, a radiograph for D.
SIZES = {"A": (512, 512), "B": (3000, 4000), "C": (1080, 1920), "D": (1024, 1024)}
#: Objects in each image of job C.
OBJECTS = 8
#: Large images that differ; more of them are the same files by other names: making one takes longer than any
#: contender does.
DISTINCT = 12
QUALITY = 92


def make_inputs(job: str, folder: Path, count: int) -> None:
    """Write the images of a job, and beside their folder the boxes (C) or masks (D) that belong to them.

    In colour only: decoded by OpenCV's default a grey one has three channels, so that the peers would do three times
    what Kaleidoscope does.
    """
    folder.mkdir(parents=True)
    photographs = [cv2.imread(str(path)) for path in sorted(samples.folder().glob("*.jpg"))]
    height, width = SIZES[job]
    if job == "D":
        radiographs(photographs, folder, count)
        return
    if job == "C":
        labels = {f"{index:05}.jpg": boxes(height, width, np.random.default_rng(index)) for index in range(count)}
        (folder.parent / "boxes.json").write_text(json.dumps(labels), "utf-8")
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


def boxes(height: int, width: int, rng: np.random.Generator) -> list[list[int]]:
    """Return objects of an image as x1, y1, x2, y2, class."""
    sizes = rng.integers(30, 300, (OBJECTS, 2))
    corners = (rng.random((OBJECTS, 2)) * (np.array([width, height]) - sizes)).astype(int)
    kinds = rng.integers(3, size=(OBJECTS, 1))
    return np.concatenate([corners, corners + sizes, kinds], axis=1).tolist()


def radiographs(photographs: list[Image], folder: Path, count: int) -> None:
    """Write 16-bit grey PNGs, noisy as what comes from a detector, and a mask for each."""
    height, width = SIZES["D"]
    (folder.parent / "masks").mkdir()
    for index in range(count):
        rng = np.random.default_rng(index)
        grey = cv2.cvtColor(cut_out(photographs[index % len(photographs)], height, width, rng), cv2.COLOR_BGR2GRAY)
        smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 2)
        pixels = np.clip(smooth * 250 + rng.normal(0, 60, smooth.shape), 0, 65535).astype(np.uint16)
        cv2.imwrite(str(folder / f"{index:05}.png"), pixels)
        cv2.imwrite(str(folder.parent / "masks" / f"{index:05}.png"), (smooth > smooth.mean()).astype(np.uint8))
