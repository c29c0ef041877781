"""The process that starts a worker process and looks after it."""

from __future__ import annotations

from typing import Any

from distributed import Nanny

#: What Dask has C's allocator do in every worker: give memory back from 64 KiB on, which also ends that it learns from
#: what is asked for. Buffers of an image are then asked of the system anew each time.
_DASKS = {"MALLOC_TRIM_THRESHOLD_": "65536"}
#: Keep what an image takes. The main job's outputs cost a tenth less, and 64 MiB a process more at most.
_OURS = {"MALLOC_TRIM_THRESHOLD_": str(64 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20)}


class ImageNanny(Nanny):
    """A `distributed.Nanny` whose worker keeps the memory of an image for the next one.

    Only where ``distributed.nanny.pre-spawn-environ`` is as Dask ships it: who has set it otherwise has a reason.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if _DASKS.items() <= self.pre_spawn_env.items() and "MALLOC_MMAP_THRESHOLD_" not in self.pre_spawn_env:
            self.pre_spawn_env = {**self.pre_spawn_env, **_OURS}
            self.env = {**self.env, **_OURS}
