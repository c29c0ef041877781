"""The machine that figures come from: without it they say nothing."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil


def describe() -> dict[str, Any]:
    """Return processor, cores, memory (bytes), kernel, Python and date."""
    return {
        "cpu": _cpu(),
        "cores": len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = {name: re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE) for name in ("model name", "model")}
    said = [found[1] if found else "?" for found in fields.values()]
    return f"{said[0]} (model {said[1]})"


def sentence(machine: dict[str, Any]) -> str:
    """Return the description as a line for people."""
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory'] / 2**30:.0f} GiB, {machine['kernel']}, "
        f"Python {machine['python']}, {machine['date']}"
    )
