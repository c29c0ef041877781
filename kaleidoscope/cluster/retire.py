"""Retires the worker of this pod: what Kubernetes runs in it before it ends the pod (preStop).

The scheduler moves what the worker holds to others and gives it nothing more; then the task that it is in the middle of
may end. All within the time of grace, of which Kubernetes takes care.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

#: Seconds between two looks at whether the worker still has a task.
_LOOK = 1.0


def main() -> None:
    """Retire the worker that the environment names: ``DASK_SCHEDULER_ADDRESS``, ``DASK_WORKER_NAME``."""
    address, name = os.environ.get("DASK_SCHEDULER_ADDRESS"), os.environ.get("DASK_WORKER_NAME")
    if not address or not name:
        sys.exit("kaleidoscope.cluster.retire: expected DASK_SCHEDULER_ADDRESS and DASK_WORKER_NAME to be set")
    try:
        asyncio.run(retire(address, name))
    except OSError as error:  # the scheduler has gone first: nobody is left to hand anything to
        sys.exit(f"kaleidoscope.cluster.retire: {address}: {error}")


async def retire(address: str, name: str) -> None:
    """Have a scheduler retire one worker, and wait until it runs no task.

    Parameters
    ----------
    address : str
        Of the scheduler.
    name : str
        Of the worker.

    Raises
    ------
    OSError
        If there is no scheduler.
    """
    from distributed.core import rpc
    from distributed.protocol.pickle import dumps

    async with rpc(address, timeout=5) as connection:
        scheduler: Any = connection
        # Not closed from there: the process would end, and Kubernetes start it again.
        await scheduler.retire_workers(names=[name], close_workers=False, remove=False)
        # Only the scheduler knows, and tells nobody by itself.
        while (await scheduler.run_function(function=dumps(_is_executing), kwargs=dumps({"name": name})))["result"]:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)


def _is_executing(name: str, dask_scheduler: Any) -> bool:
    """Say, on the scheduler, whether a worker was in the middle of a task when it was last heard of."""
    found = [worker for worker in dask_scheduler.workers.values() if str(worker.name) == name]
    return any(worker.metrics.get("executing", 0) for worker in found)


if __name__ == "__main__":
    main()
