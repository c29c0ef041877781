"""Ray Data, its tasks doing for each batch of images what the faster script does, files written inside the task.

Modes: ``tasks`` (map_batches of paths, nothing but counts goes through the object store) and ``rows`` (flat_map
from images to encoded variants as rows, which another step writes: the way of its user guide).
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # silences a warning about machines without a GPU

import opencv_script as script
import pandas as pd  # noqa: F401 - Ray Data would load it late: imports are not timed
import ray.data
from timing import Clock, Task, report, task

#: Images in a task: enough tasks that the cores end together.
BATCH = 4
STORE_BYTES = 512 * 2**20


def write_batch(batch: dict[str, Any], given: Task) -> dict[str, list[int]]:
    """Write what is to be made of a batch of paths; return the counts."""
    ready(given)
    return {"outputs": [script.work(str(path)) for path in batch["path"]]}


def variants(row: dict[str, Any], given: Task) -> Iterator[dict[str, Any]]:
    """Yield the encoded outputs of one image and what they are called."""
    ready(given)
    found: list[dict[str, Any]] = []
    # The script's own functions, with another last step.
    script.write = lambda image, path: found.append(
        {"path": path, "data": script.cv2.imencode(".jpg", image, script.JPEG)[1].tobytes()}
    )
    script.work(row["path"])
    return iter(found)


def write_rows(batch: dict[str, Any]) -> dict[str, list[int]]:
    """Write encoded outputs."""
    for path, data in zip(batch["path"], batch["data"], strict=True):
        Path(path).write_bytes(data)
    return {"outputs": [len(batch["path"])]}


def ready(given: Task) -> None:
    """Prepare the process of a task, once."""
    if not hasattr(script, "doing"):
        script.begin(given)


def run(given: Task, mode: str) -> int:
    """Do the job; return how many outputs there are."""
    paths = given.paths
    images = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=max(1, len(paths) // BATCH))
    if mode == "tasks":
        written = images.map_batches(write_batch, batch_size=BATCH, fn_kwargs={"given": given})
    else:
        written = images.flat_map(variants, fn_kwargs={"given": given}).map_batches(write_rows)
    return int(written.sum("outputs"))


def main() -> None:
    """Do what the command line says."""
    given = task()
    folder = tempfile.mkdtemp(prefix="ray")  # short: the names of sockets hold 107 bytes
    mode, way = given.mode, "shared" if given.job == "A" else "scaled"
    try:
        with Clock() as clock:
            ray.init(
                num_cpus=given.workers,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
            clock.up()
            ray.data.DataContext.get_current().enable_progress_bars = False
            outputs = run(Task(given.job, given.inputs, given.outputs, given.workers, way), mode)
            clock.stop()
        report(clock, outputs, "ray", "opencv-python-headless", "numpy")
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
