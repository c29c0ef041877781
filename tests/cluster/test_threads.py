"""4 workers of 4 threads: OpenCV runs no threads of its own, counted by the system."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

import kaleidoscope as ks
from kaleidoscope import ops

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc to count in")


def prepare():
    """Load in a worker what a job loads, with a setting of the process's own that tasks have to overrule."""
    import io

    import pyarrow.parquet

    import kaleidoscope.writing  # noqa: F401

    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), io.BytesIO())
    cv2.setNumThreads(4)


def foreign():
    """Return the threads of this process that are none of Python's: those of OpenCV, BLAS, Arrow."""
    found = None
    for _ in range(3):  # one of Python's that begins or ends between the two lists is not there at each look
        tasks = {int(task.name) for task in Path("/proc/self/task").iterdir()}
        rest = tasks - {one.native_id for one in threading.enumerate()}
        found = rest if found is None else found & rest
        time.sleep(0.002)
    return found


def blur():
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (9, 9), 3)


def test_opencv_runs_in_the_threads_it_was_given(tmp_path):
    recipe = [ops.GaussianBlur(), ops.Rotate(limit=20), ops.HueSaturationValue(), ops.MedianBlur()]
    views = ks.augment(ks.read_images(ks.samples.folder()), recipe, seed=7)
    with ks.cluster.local(4, 4, gpus=0, dashboard=False) as cluster, cluster.get_client() as client:
        assert {worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()} == {4}
        client.run(prepare)
        before = client.run(foreign)
        seen = []
        with ThreadPoolExecutor(1) as thread, client.as_current():
            job = thread.submit(lambda: views.write(tmp_path / "to").compute())
            while not job.done():
                seen.append(client.run(foreign))
            assert job.result().failed == 0
        seen.append(client.run(foreign))
        more = {worker: set().union(*(look[worker] for look in seen)) - before[worker] for worker in before}
        assert more == {worker: set() for worker in before}, "a task that runs on other threads than its own"

        # What would have been seen:
        worker = next(iter(before))
        client.run(blur, workers=[worker])
        assert client.run(foreign, workers=[worker])[worker] - seen[-1][worker]
