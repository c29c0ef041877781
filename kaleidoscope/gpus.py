"""Which GPUs this machine has, found without loading a library for it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys

#: The name that workers with a graphics processor are labelled with, one of each process.
GPU = "GPU"


def devices() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    That variable, if it is set; else what torch says, if it is loaded; else what ``nvidia-smi`` lists, if it is there.

    Examples
    --------
    >>> import os
    >>> before = os.environ.get("CUDA_VISIBLE_DEVICES")
    >>> os.environ["CUDA_VISIBLE_DEVICES"] = "2,GPU-8f1c,-1,4"
    >>> devices()  # CUDA stops at the first that is none
    ('2', 'GPU-8f1c')
    >>> _ = os.environ.pop("CUDA_VISIBLE_DEVICES") if before is None else os.environ.update(CUDA_VISIBLE_DEVICES=before)
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        end = next((at for at, name in enumerate(names) if name in {"", "-1", "NoDevFiles"}), len(names))
        return tuple(names[:end])
    if torch := sys.modules.get("torch"):
        return tuple(map(str, range(torch.cuda.device_count())))
    return _listed()


@functools.cache
def _listed() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=index", "--format=csv,noheader"]
    try:
        # By index, which a container's list of devices keeps in order; a driver that hangs must not hang us.
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603 - found on PATH
    except (OSError, subprocess.SubprocessError):
        return ()  # a program without a driver is no GPU
    return tuple(line.strip() for line in asked.stdout.splitlines() if line.strip().isdigit())
