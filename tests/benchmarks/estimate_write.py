"""Estimate a job of `compare.py`, then do it: the process that ``estimate.py`` measures.

Its one argument is JSON: ``job``, ``inputs``, ``outputs`` (URLs), ``options`` (of the storage, or null), ``workers``,
``cluster`` (as processes), ``probe``, and ``clock``: ``cpu`` compares the processor's time of all threads, not seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.append(str(Path(__file__).parent / "peers"))

import dask
from kaleidoscope_write import recipe
from timing import QUALITY

import kaleidoscope as ks
from kaleidoscope import measuring


def done(given: dict[str, Any]) -> dict[str, Any]:
    """Estimate and do it; return both."""
    dataset = ks.read_images(given["inputs"], storage_options=given["options"])
    run = ks.augment(dataset, recipe(given["job"]), seed=7).write(given["outputs"], quality=QUALITY)
    by_cpu = given["clock"] == "cpu"
    if by_cpu:
        measuring.time = SimpleNamespace(perf_counter=time.thread_time, process_time=time.process_time)
    began = time.perf_counter()
    said = run.estimate(probe=given["probe"])
    took = time.perf_counter() - began
    if given["way"]:
        os.kill(given["way"], signal.SIGUSR1)  # what was asked for so far was the estimate's
        time.sleep(0.2)
    cpu = time.process_time()
    report = run.compute(progress=False)
    cpu = time.process_time() - cpu
    return {
        "predicted": {
            "outputs": said.outputs,
            "bytes": said.bytes,
            "seconds": said.seconds * (given["workers"] if by_cpu else 1),
            **said.requests,
        },
        "actual": {
            "outputs": report.outputs,
            "bytes": report.bytes,
            "seconds": cpu if by_cpu else report.seconds,
        },
        "measured": said.measured,
        "took": took,
        "latency": said.latency,
    }


def main() -> None:
    """Do what the command line says, and print one line of JSON about it."""
    given = json.loads(sys.argv[1])
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(num_workers=given["workers"]))
        if given["cluster"]:
            cluster = stack.enter_context(ks.cluster.local(given["workers"], 1, dashboard=False))
            stack.enter_context(cluster.get_client())
        print("\n" + json.dumps(done(given)), flush=True)


if __name__ == "__main__":
    main()
