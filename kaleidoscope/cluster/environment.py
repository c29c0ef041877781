"""Whether a host has what this machine has: asked by a script that needs nothing but Python, and compared."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

#: What pixels and the talk between Dask's parts depend on.
PACKAGES = ("kaleidoscope", "dask", "distributed", "numpy", "opencv-python", "cloudpickle", "simplejpeg", "isal")

#: Runs on the host, under whatever Python 3 is there. OpenCV comes under several names.
SCRIPT = """
import json, os, platform, shutil, subprocess
try:
    from importlib.metadata import version
except ImportError:
    def version(name):
        raise LookupError(name)
def found(*names):
    for name in names:
        try:
            return version(name)
        except Exception:
            pass
opencv = ["opencv-python" + kind for kind in ("", "-headless")]
opencv += ["opencv-contrib-python" + kind for kind in ("", "-headless")]
versions = {name: found(*(opencv if name == "opencv-python" else [name])) for name in %s}
try:
    cores = len(os.sched_getaffinity(0))
except AttributeError:
    cores = os.cpu_count() or 1
gpus = 0
if "CUDA_VISIBLE_DEVICES" in os.environ:
    gpus = len([name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip() not in ("", "-1")])
elif shutil.which("nvidia-smi"):
    listed = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
    gpus = sum(line.startswith(b"GPU ") for line in listed.stdout.splitlines())
print(json.dumps({"python": platform.python_version(), "versions": versions, "cores": cores, "gpus": gpus}))
""" % json.dumps(PACKAGES)  # noqa: UP031 - braces are the script's own


def here() -> dict[str, Any]:
    """Return the versions of this process, as the script returns those of a host."""
    return {"python": platform.python_version(), "versions": {name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str | None:
    kinds = ("", "-headless")
    names = [base + kind for base in (name, "opencv-contrib-python") for kind in kinds] if "opencv" in name else [name]
    for one in names:
        try:
            return version(one)
        except PackageNotFoundError:
            continue
    return None


def differences(mine: Mapping[str, Any], there: Mapping[str, Any], python: str) -> str | None:
    """Say what differs on a host, and what to do about it; None if nothing does.

    Parameters
    ----------
    mine, there : mapping
        As `here` and the script return them.
    python : str
        What the host's Python is called.

    Examples
    --------
    >>> a = {"python": "3.11.7", "versions": {"dask": "2026.8.0", "numpy": "2.4.6"}}
    >>> b = {"python": "3.11.2", "versions": {"dask": "2026.8.0", "numpy": "2.1.0"}}
    >>> print(differences(a, b, "/opt/venv/bin/python"))
    numpy is 2.1.0 there and 2.4.6 here. Run there: /opt/venv/bin/python -m pip install 'numpy==2.4.6'
    >>> print(differences(a, {**a, "python": "3.13.0"}, "python3"))
    Python is 3.13 there and 3.11 here. Name a Python 3.11 there (python: /path/to/python)
    """
    minor, other = (".".join(one["python"].split(".")[:2]) for one in (mine, there))
    if minor != other:
        return f"Python is {other} there and {minor} here. Name a Python {minor} there (python: /path/to/python)"
    found = {
        name: (wanted, there["versions"].get(name))
        for name, wanted in mine["versions"].items()
        if there["versions"].get(name) != wanted and wanted is not None
    }
    if not found:
        return None
    said = ", ".join(f"{name} is {have or 'missing'} there and {want} here" for name, (want, have) in found.items())
    fix = " ".join(f"'{name}=={want}'" for name, (want, _) in found.items())
    return f"{said}. Run there: {python} -m pip install {fix}"
