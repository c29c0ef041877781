"""A client in a process of its own: does the writes it is told to, and leaves a line of JSON about each.

Its one argument is JSON: ``source``, ``targets``, ``result`` (a file), ``workers`` (0: threads of this process),
``scheduler`` (a file with the address of one, or null), ``seed``, ``ops`` (names), ``masks`` (a folder, or null), their
``mask_name``, ``options`` of ``write``, and ``meet`` (my file, the other's file) to start each write together.
"""

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from dask.distributed import Client

import kaleidoscope as ks
from kaleidoscope import ops


def main(order):
    """Write each target in turn."""
    import sabotage  # beside this script: found when it is run, not when pytest looks for doctests

    os.environ[sabotage.CLIENT] = str(os.getpid())
    with ExitStack() as stack:
        if order["scheduler"]:
            stack.enter_context(Client(scheduler_file=order["scheduler"]))
        elif order["workers"]:
            cluster = stack.enter_context(ks.cluster.local(workers=order["workers"], dashboard=False))
            stack.enter_context(cluster.get_client())
        else:
            sabotage.install()
        labels = order["masks"] and ks.labels.Masks(order["masks"], order["mask_name"])
        dataset = ks.read_images(order["source"], labels=labels)
        views = ks.augment(dataset, [getattr(ops, name)() for name in order["ops"]], seed=order["seed"])
        for i, target in enumerate(order["targets"]):
            if order["meet"]:
                mine, other = order["meet"]
                Path(f"{mine}-{i}").touch()
                while not Path(f"{other}-{i}").exists():
                    time.sleep(0.0005)
            try:
                report = views.write(target, **order["options"]).compute(progress=False)
                came = {"outputs": report.outputs, "skipped": report.skipped, "failed": report.failed}
            except BaseException as error:  # noqa: BLE001 - the test judges it, Ctrl-C too
                came = {"error": type(error).__name__, "message": str(error)}
            with Path(order["result"]).open("a") as out:
                out.write(json.dumps(came) + "\n")
            if came.get("error") == "KeyboardInterrupt":
                raise KeyboardInterrupt


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
