"""The process that starts a worker process and looks after it."""

from __future__ import annotations

from typing import Any

from distributed import Nanny, Status

from kaleidoscope.errors import ResourceError

#: What Dask has C's allocator do in every worker: give memory back from 64 KiB on, which also ends that it learns from
#: what is asked for. Buffers of an image are then asked of the system anew each time.
_DASKS = {"MALLOC_TRIM_THRESHOLD_": "65536"}
#: Keep what an image takes. The main job's outputs cost a tenth less, and 64 MiB a process more at most.
_OURS = {"MALLOC_TRIM_THRESHOLD_": str(64 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20)}


#: What a worker's process ends with if the script that it imports starts a cluster at its top. Of no other meaning to
#: Python or a shell, nor a signal's.
STARTED_BY_ITS_SCRIPT = 77
#: What is to be done then.
GUARD = (
    'a worker of a cluster imports the script that starts it: put the lines that do so under if __name__ == "__main__":'
)


class ImageNanny(Nanny):
    """A `distributed.Nanny` that says why there is no worker, and whose worker keeps the memory of an image.

    The latter only where ``distributed.nanny.pre-spawn-environ`` is as Dask ships it: who has set it otherwise has a
    reason.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if _DASKS.items() <= self.pre_spawn_env.items() and "MALLOC_MMAP_THRESHOLD_" not in self.pre_spawn_env:
            self.pre_spawn_env = {**self.pre_spawn_env, **_OURS}
            self.env = {**self.env, **_OURS}
        self._ended_with: int | None = None

    async def instantiate(self) -> Status:
        """Start the worker process.

        Raises
        ------
        ResourceError
            If it ended before it could say anything, and is not started again.
        """
        status = await super().instantiate()
        if status != Status.running and self.status in (Status.init, Status.starting):
            if self._ended_with == STARTED_BY_ITS_SCRIPT:
                raise ResourceError(GUARD)
            raise ResourceError(
                f"a worker's process {_how(self._ended_with)} before it was a worker: what it wrote to its standard "
                "error says why. Of a local cluster it imports the script that starts it: what only that is to do "
                'belongs under if __name__ == "__main__":'
            )
        return status

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        self._ended_with = exitcode
        super()._on_worker_exit_sync(exitcode)


def _how(exitcode: int | None) -> str:
    """Say how a process ended, with Python's exit code for it.

    >>> _how(1), _how(-9), _how(None)
    ('ended with exit code 1', 'was killed by signal 9', 'ended')
    """
    if exitcode is None:
        return "ended"
    return f"was killed by signal {-exitcode}" if exitcode < 0 else f"ended with exit code {exitcode}"
