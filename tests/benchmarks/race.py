"""One run of one contender: a process of its own, watched, and its outputs counted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from contenders import PEERS, ROOT, Contender

sys.path.append(str(PEERS))
from timing import held

#: Seconds between two looks at a contender's memory: a look takes about a millisecond for each process.
INTERVAL = 0.2
TIMEOUT = 600


@dataclass(frozen=True)
class Run:
    """What one run came to.

    Parameters
    ----------
    outputs : int
        JPEGs that lay in the output folder afterwards.
    bytes : int
        Of these.
    seconds, start : float
        What the work took, and how much of it was the start of a pool or cluster.
    memory : int
        Bytes that all its processes held at their most, beyond what the main process held after its imports.
    busy : float
        How much of the machine something else took just before, in percent.
    versions : dict
        Of the packages that matter to it.
    error : str
        Why there are no figures; else empty.
    """

    outputs: int = 0
    bytes: int = 0
    seconds: float = 0.0
    start: float = 0.0
    memory: int = 0
    busy: float = 0.0
    versions: dict[str, str] | None = None
    error: str = ""


class Watch:
    """Looks at a process and all its descendants from time to time, and ends those that are left."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._seen = {pid: psutil.Process(pid)}
        self._root = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(INTERVAL):
            try:
                self._seen.update((child.pid, child) for child in self._seen[self._root].children(recursive=True))
            except psutil.NoSuchProcess:
                return
            self.most = max(self.most, sum(map(held, self._seen)))

    def end(self) -> None:
        """Stop looking, and kill what was seen and still runs: daemons of a contender must not slow the next."""
        self._over.set()
        self._thread.join()
        for process in self._seen.values():
            if process.is_running():  # and is the same, not another of that number
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
        psutil.wait_procs(self._seen.values(), timeout=10)


def run(contender: Contender, job: str, inputs: Path, outputs: Path, workers: int) -> Run:
    """Let a contender do a job; its outputs are counted, deleted, and gone from memory before the next one starts."""
    outputs.mkdir(parents=True)
    task = {"job": job, "inputs": str(inputs), "outputs": str(outputs), "workers": workers, "mode": contender.mode}
    # This checkout's package, not another that may be installed.
    env = {**os.environ, "PYTHONPATH": "" if contender.environment else str(ROOT)}
    busy = psutil.cpu_percent(interval=INTERVAL)
    process = subprocess.Popen(
        [contender.python, "-W", "ignore", PEERS / contender.script, json.dumps(task)],
        cwd=outputs.parent,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = Watch(process.pid)
    try:
        said, complained = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        said, complained = "", f"no end after {TIMEOUT} s"
    finally:
        watch.end()
    try:
        line = _figures(said)
        if line is None:
            return Run(error=complained.strip()[-1000:] or f"exit code {process.returncode}, and nothing said")
        found = [path for kind in ("*.jpg", "*.png") for path in outputs.rglob(kind)]
        masks = [path for path in found if path.suffixes[-2:] == [".mask", ".png"]]
        sizes = [path.stat().st_size for path in found if path not in masks]
        if job == "D" and len(masks) != len(sizes):
            return Run(error=f"{len(masks)} masks of {len(sizes)} outputs")
        if len(sizes) != line["outputs"]:
            return Run(error=f"{line['outputs']} outputs reported, {len(sizes)} found")
        memory = max(0, watch.most - line["memory"])
        return Run(len(sizes), sum(sizes), line["seconds"], line["start"], memory, busy, line["versions"])
    finally:
        shutil.rmtree(outputs)
        os.sync()


def _figures(said: str) -> dict[str, Any] | None:
    """Return the contender's line; its libraries may have printed others."""
    for line in reversed(said.splitlines()):
        if line.startswith("{") and '"seconds"' in line:
            return json.loads(line)
    return None
