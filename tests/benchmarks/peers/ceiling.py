"""The ceiling: encode and write the pixels that Kaleidoscope makes, on all cores, and do nothing else.

The variants of a few images are made beforehand, outside the clock, and written over and over under other names.
Encoding is Kaleidoscope's own, channel swap included. Files are written plainly, without the temporary name from
which Kaleidoscope renames them: nothing is to make the ceiling lower.
"""

from __future__ import annotations

import multiprocessing

import cv2
import numpy as np
from kaleidoscope_write import recipe
from timing import QUALITY, Clock, Task, report, task

import kaleidoscope as ks
from kaleidoscope.codecs import Encoder

#: Images whose variants are held, one of each photograph or all that differ: 64 of 512 x 512 x 3 are 50 MB.
HELD = {"A": 5, "B": 12}
pixels: list[list[np.ndarray]]  # of each held image its variants; workers have it by the fork
doing: Task


def begin(given: Task) -> None:
    """Prepare a worker: one thread each."""
    global doing
    doing = given
    cv2.setNumThreads(1)


def work(number: int) -> int:
    """Write the variants of one image; return how many."""
    variants = pixels[number % len(pixels)]
    encoder, scratch = Encoder("jpg", QUALITY), np.empty_like(variants[0])
    for index, variant in enumerate(variants):
        with open(f"{doing.outputs}/{number:05}__{index}.jpg", "wb") as file:
            file.write(encoder.encode(variant, scratch))
    return len(variants)


def main() -> None:
    """Do what the command line says."""
    global pixels
    given = task()
    pixels = [
        [np.ascontiguousarray(record.pixels) for record in ks.augment(one, recipe(given.job), seed=7).compute()]
        for one in (ks.read_images(path) for path in given.paths[: HELD[given.job]])
    ]
    images = len(given.paths)
    with Clock() as clock, multiprocessing.get_context("fork").Pool(given.workers, begin, (given,)) as pool:
        clock.up()
        chunk = max(1, images // (given.workers * 8))
        outputs = sum(pool.imap_unordered(work, range(images), chunksize=chunk))
        clock.stop()
    report(clock, outputs, "kaleidoscope", "opencv-python")


if __name__ == "__main__":
    main()
