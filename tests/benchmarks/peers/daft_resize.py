"""Daft's own expressions: download, decode, resize, encode, upload (job B).

Its JPEG encoder takes no quality and its resize no interpolation: what it does by default is what is measured. It
decodes in full.
"""

from __future__ import annotations

import os

os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DAFT_PROGRESS_BAR"] = "0"

import daft
from daft import functions
from timing import SMALL_HEIGHT, SMALL_WIDTH, Clock, report, task


def main() -> None:
    """Do what the command line says."""
    given = task()
    with Clock() as clock:
        images = functions.decode_image(functions.download(daft.col("path")), mode="RGB")
        small = functions.encode_image(functions.resize(images, SMALL_WIDTH, SMALL_HEIGHT), "JPEG")
        names = [f"{given.outputs}/{number}.jpg" for number, _ in enumerate(given.paths)]
        frame = daft.from_pydict({"path": given.paths, "to": names}).into_batches(8)
        done = frame.select(functions.upload(small, daft.col("to")).alias("written")).collect()
        outputs = done.count_rows()
        clock.stop()
    report(clock, outputs, "daft")


if __name__ == "__main__":
    main()
