"""What a bug report needs to know: versions, the machine, what can be read and written, settings, the cluster.

Nothing here names files, users, hosts or what the environment holds, but for the address of a cluster that is in use.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import psutil
from dask.system import CPU_COUNT
from dask.utils import format_bytes

from kaleidoscope import settings
from kaleidoscope.codecs import Encoder, decode
from kaleidoscope.errors import KaleidoscopeError, RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What the work is done with, as the package registry calls it.
PACKAGES = (
    "kaleidoscope",
    "numpy",
    "opencv-python",
    "simplejpeg",
    "isal",
    "stringzilla",
    "dask",
    "distributed",
    "fsspec",
    "s3fs",
    "pandas",
    "pyarrow",
    "pillow",
)
#: What may be there, and the extra that brings it.
EXTRAS = {
    "obstore": "fast",
    "torch": "gpu",
    "dask-kubernetes": "kubernetes",
    "pydicom": "medical",
    "ipywidgets": "notebook",
    "jupyterlab": "notebook",
    "fastapi": "service",
    "uvicorn": "service",
    "asyncssh": "ssh",
}
_MISSING = "missing"


def collect() -> dict[str, Any]:
    """Find all of it out, as JSON values.

    Returns
    -------
    dict
        ``versions``, ``extras``, ``machine``, ``codecs``, ``devices``, ``settings`` (those that differ from their
        defaults), ``dask`` (the active client's cluster; None without one).
    """
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "extras": {name: _version(name, f" (extra: {extra})") for name, extra in EXTRAS.items()},
        "machine": _machine(),
        "codecs": _codecs(),
        "devices": _devices(),
        "settings": _settings(),
        "dask": _cluster(),
    }


def as_text(found: Mapping[str, Any]) -> str:
    """Lay out what `collect` has found for people to read.

    Examples
    --------
    >>> print(as_text({"versions": {"python": "3.11.7"}, "settings": {}, "dask": None}))
    versions
      python  3.11.7
    settings
      (none)
    dask
      (none)
    """
    return "\n".join(_lines(found, ""))


def _lines(found: Mapping[str, Any], indent: str) -> Iterator[str]:
    width = max((len(name) for name, value in found.items() if not isinstance(value, Mapping | None)), default=0)
    for name, value in found.items():
        if isinstance(value, Mapping) or (value is None and not indent):
            yield f"{indent}{name}"
            yield from _lines(value, f"{indent}  ") if value else [f"{indent}  (none)"]
        else:
            yield f"{indent}{name:<{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _version(name: str, how: str = "") -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return _MISSING + how


def _machine() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "instructions": cv2.getCPUFeaturesLine(),  # those after a star, where this processor has them
        "implementation": f"{platform.python_implementation()} of {sys.maxsize.bit_length() + 1} bits",
        "cores": CPU_COUNT,  # those that this process may use, which a container's limit makes fewer
        "memory": format_bytes(memory.total),
        "memory free": format_bytes(memory.available),
    }


def _codecs() -> dict[str, str]:
    """Say which formats a small image survives: builds of OpenCV differ in what they can do."""
    pixels = np.full((16, 16, 3), 128, np.uint8)
    found = {}
    for name in ("jpg", "png", "webp", "tiff", "npy"):
        try:
            encoded = Encoder(name).encode(pixels)
        except KaleidoscopeError as error:
            found[name] = f"cannot be written: {error.message}"
        else:
            found[name] = f"can be written; {_readable(encoded, pixels)}"
    return {**found, "bmp": _readable(cv2.imencode(".bmp", pixels)[1].tobytes(), pixels)}


def _readable(encoded: bytes, pixels: NDArray[Any]) -> str:
    try:
        back, _ = decode(encoded, key="")
    except KaleidoscopeError as error:
        return f"cannot be read: {error.message}"
    same = back.shape == pixels.shape and np.abs(back.astype(int) - pixels).max() <= 8  # JPEG and WebP are lossy
    return "can be read" if same else "is read otherwise than it was written"


def _devices() -> dict[str, Any]:
    if find_spec("torch") is None:
        return {"cuda": "unknown: torch is missing"}
    try:
        import torch

        if not torch.cuda.is_available():
            return {"cuda": "none"}
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except Exception as error:  # noqa: BLE001 - a broken installation is what somebody may be reporting
        return {"cuda": f"unknown: {type(error).__name__}: {error}"}
    return {"cuda": names, "cuda version": str(torch.version.cuda)}


def _settings() -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        found = settings.changed()
        settings.value("progress")
    except RecipeError as error:  # a mistake is what somebody may be reporting
        found["mistake"] = error.message
    return found


def _cluster() -> dict[str, Any] | None:
    """Describe the active client's cluster, if there is one; who has not loaded distributed has made none."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        client = default_client()
    except ValueError:
        return None
    versions = client.get_versions(check=False, packages=[*PACKAGES])
    threads = client.nthreads()
    here = versions["client"]["packages"]
    there = {"scheduler": versions["scheduler"], **versions["workers"]}
    return {
        "scheduler": client.scheduler.address,
        "workers": len(threads),
        "threads": sum(threads.values()),
        "versions that differ": _differences(here, {place: found["packages"] for place, found in there.items()}),
    }


def _differences(here: Mapping[str, Any], there: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Name each package whose version is another one somewhere.

    Examples
    --------
    >>> _differences(
    ...     {"numpy": "2.0", "dask": "1"}, {"tcp://a": {"numpy": "2.1", "dask": "1"}, "tcp://b": {"dask": "1"}}
    ... )
    {'numpy': '2.0 here, 2.1 on tcp://a, missing on tcp://b'}
    """
    found = {}
    for name, mine in here.items():
        others: dict[str, list[str]] = {}
        for place, versions in there.items():
            if versions.get(name) != mine:
                others.setdefault(versions.get(name) or _MISSING, []).append(place)
        if others:
            said = [f"{other} on {places[0]}{_more(places)}" for other, places in others.items()]
            found[name] = ", ".join([f"{mine or _MISSING} here", *said])
    return found


def _more(places: list[str]) -> str:
    return f" and {len(places) - 1} more" if len(places) > 1 else ""
