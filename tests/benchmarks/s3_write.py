"""Job A of `compare.py` from one place to another, with what it costs: the process that ``s3.py`` measures.

Its one argument is JSON: ``inputs``, ``outputs`` (URLs), ``options`` (of the storage, or null), ``layout``, ``library``
(what gets and puts objects) and ``workers`` (threads).
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "peers"))

import dask
from kaleidoscope_write import recipe
from timing import QUALITY, Clock

import kaleidoscope as ks


def main() -> None:
    """Do what the command line says, and print one line of JSON about it."""
    given = json.loads(sys.argv[1])
    for late in ("distributed", "pandas", "pyarrow.parquet", "s3fs", "obstore"):  # imports are not measured
        importlib.import_module(late)
    with dask.config.set({"kaleidoscope.object-store": given["library"], **given["settings"]}), Clock() as clock:
        cpu = time.process_time()  # of all threads, user and system
        images = ks.read_images(given["inputs"], storage_options=given["options"])
        views = ks.augment(images, recipe("A"), seed=7)
        run = views.write(given["outputs"], quality=QUALITY, layout=given["layout"], storage_options=given["options"])
        report = run.compute(num_workers=given["workers"])
        cpu = time.process_time() - cpu
    told = {"outputs": report.outputs, "failed": report.failed, "bytes": report.bytes, "memory": clock.memory}
    print("\n" + json.dumps({**told, "seconds": clock.seconds, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    main()
