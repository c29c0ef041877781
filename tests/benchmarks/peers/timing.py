"""What all contenders do alike: take a task as JSON on the command line, and print one JSON line about it.

The clock starts when the contender's libraries are imported and the task is asked for. It stops when the last file
is written and the contender knows it. In it: starting the pool or cluster (also told apart, as ``start``), whatever
its workers have to import, listing the inputs, the work. Not in it: the start of the interpreter, imports of the
main process (also those that a library puts off until it needs them), taking the pool or cluster down.

Runs in every contender's environment: nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Parameters
    ----------
    job : str
        ``A``: the 64 variants of each image; ``B``: one small version of each; ``C``, ``D``: four drawn variants of
        each, with its boxes, or its mask.
    inputs, outputs : str
        Folders: of JPEGs, and an empty one.
    workers : int
        Cores to use.
    mode : str
        Which of the script's several ways to go.
    """

    job: str
    inputs: str
    outputs: str
    workers: int
    mode: str = ""

    @property
    def paths(self) -> list[str]:
        """The input files, in order."""
        return sorted(str(path) for path in Path(self.inputs).iterdir())

    @property
    def boxes(self) -> dict[str, list[list[int]]]:
        """The objects of job C by the name of their image: x1, y1, x2, y2, class."""
        return json.loads((Path(self.inputs).parent / "boxes.json").read_text("utf-8"))

    @property
    def masks(self) -> str:
        """The folder of job D's masks, called like their images."""
        return f"{Path(self.inputs).parent}/masks"


#: Outputs of job B: 4000 x 3000 pixels to 256 on the short side.
SMALL_WIDTH, SMALL_HEIGHT = 341, 256
QUALITY = 95
#: Variants of each image in jobs C and D.
DRAWN = 4


def task() -> Task:
    """Return the task on the command line."""
    return Task(**json.loads(sys.argv[1]))


class Clock:
    """Measures what happens inside its ``with``."""

    def __enter__(self) -> Self:
        """Look at the memory, and start."""
        self.memory = held(os.getpid())
        self.start = 0.0
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, unless that was done before."""
        if not hasattr(self, "seconds"):
            self.stop()

    def up(self) -> None:
        """Note that the pool or cluster is there."""
        self.start = time.perf_counter() - self._began

    def stop(self) -> None:
        """Note that the work is done."""
        self.seconds = time.perf_counter() - self._began


def report(clock: Clock, outputs: int, *packages: str) -> None:
    """Print the line that the harness reads."""
    print(
        "\n"
        + json.dumps(
            {
                "outputs": outputs,
                "seconds": clock.seconds,
                "start": clock.start,
                "memory": clock.memory,
                "versions": dict(_versions(packages)),
            }
        ),
        flush=True,
    )


def _versions(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    for package in packages:
        try:
            yield package, version(package)
        except PackageNotFoundError:  # OpenCV comes as one package or another
            continue


def held(pid: int) -> int:
    """Return the bytes of memory that a process holds, pages that it shares counted in part (PSS); 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except OSError:  # it has ended, is not ours, or this is no Linux
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def name(path: str, outputs: str, variant: str) -> str:
    """Return where a variant of an input goes."""
    return f"{outputs}/{Path(path).stem}__{variant}.jpg"
