"""img2dataset (job B), reading file:// URLs, which saves it the web server, and hashing and searching EXIF for nobody.

It decodes in full, and writes a JSON file beside each image.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # no call to the network

from img2dataset import download
from timing import QUALITY, SMALL_HEIGHT, Clock, report, task


def main() -> None:
    """Do what the command line says."""
    given = task()
    with Clock() as clock:
        paths = given.paths
        listing = Path(given.outputs, "urls.txt")
        listing.write_text("".join(f"file://{path}\n" for path in paths), "utf-8")
        download(
            url_list=str(listing),
            input_format="txt",
            output_folder=given.outputs,
            output_format="files",
            image_size=SMALL_HEIGHT,
            resize_mode="keep_ratio",
            resize_only_if_bigger=True,
            encode_quality=QUALITY,
            processes_count=given.workers,
            thread_count=4,
            number_sample_per_shard=max(1, len(paths) // (given.workers * 4)),
            extract_exif=False,
            compute_hash=None,
            enable_wandb=False,
        )
        clock.stop()
    report(clock, sum(1 for _ in Path(given.outputs).rglob("*.jpg")), "img2dataset", "opencv-python-headless")


if __name__ == "__main__":
    main()
