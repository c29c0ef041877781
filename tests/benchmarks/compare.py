"""Ours and the peers' outputs a second, in one run and in turns, as one table.

::

    python tests/benchmarks/compare.py --install            # the peers' environments, in .venv-bench/
    python tests/benchmarks/compare.py --job A --rounds 5 --json out.json

Job A makes the 64 variants of 512 x 512 JPEGs, job B versions of 12-megapixel JPEGs of 256 pixels on the short side,
job C four variants of 1920 x 1080 JPEGs with boxes, job D four of 16-bit grey 1024 x 1024 PNGs with masks.
Rounds are A B C A B C: what slows the machine for a minute slows neighbours alike. What is in a time, and what not:
``peers/timing.py``. How the peers are set up: their scripts in ``peers/``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import machine
import psutil
from contenders import CONTENDERS, Contender
from inputs import make_inputs
from install import install
from race import Run, run
from table import busy, rate, table, versions

#: Images that take a good contender a few seconds on two cores.
IMAGES = {"A": 64, "B": 256, "C": 64, "D": 64}
RAM_DISK = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--job", choices=("A", "B", "C", "D"), default="A")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, help=f"default: {IMAGES}")
    parser.add_argument("--workers", type=int, default=machine.describe()["cores"], help="default: all cores")
    home = RAM_DISK if RAM_DISK.is_dir() else None
    parser.add_argument("--to", type=Path, default=home, metavar="FOLDER", help="files lie in a new folder in it")
    parser.add_argument("--only", nargs="*", metavar="NAME", help=", ".join(one.key for one in CONTENDERS))
    parser.add_argument("--json", type=Path, help="write all runs there")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    parser.add_argument("--install", action="store_true", help="make the peers' environments first")
    chosen = parser.parse_args()
    if unknown := set(chosen.only or ()) - {one.key for one in CONTENDERS}:
        parser.error(f"--only: no contender is called {', '.join(sorted(unknown))}")
    return chosen


def race(job: str, rounds: int, workers: int, folder: Path, wanted: Sequence[Contender]) -> dict[str, list[Run]]:
    """Let the contenders take turns on the inputs in ``folder/in``; return the runs of each."""
    runs: dict[str, list[Run]] = {one.key: [] for one in wanted if one.installed}
    for number in range(rounds):
        for one in wanted:
            if one.installed:
                done = run(one, job, folder / "in", folder / "out", workers)
                runs[one.key].append(done)
                said = f"failed: {done.error}" if done.error else f"{rate(done):,.0f} outputs/s in {done.seconds:.1f} s"
                print(f"round {number + 1}, {one.title}: {said}", file=sys.stderr)
    return runs


def main() -> None:
    """Do what the command line says."""
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # by way of every `finally`
    if chosen.install:
        for name, reason in install().items():
            print(f"{name} could not be installed: {reason}", file=sys.stderr)
    wanted = [one for one in CONTENDERS if chosen.job in one.jobs and (not chosen.only or one.key in chosen.only)]
    where, images = machine.describe(), chosen.images or IMAGES[chosen.job]
    folder = Path(tempfile.mkdtemp(prefix="bench", dir=chosen.to))
    try:
        make_inputs(chosen.job, folder / "in", images)
        runs = race(chosen.job, chosen.rounds, chosen.workers, folder, wanted)
        medium = next(
            part.fstype for part in sorted(psutil.disk_partitions(all=True), key=lambda part: -len(part.mountpoint))
            if folder.is_relative_to(part.mountpoint)
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    text = (
        f"Job {chosen.job}, {images} images, {chosen.workers} workers, files on {medium}, {chosen.rounds} rounds.\n"
        f"{machine.sentence(where)}. {busy(runs)}.\n{versions(runs)}.\n\n{table(chosen.job, runs, wanted)}"
    )
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text + "\n", "utf-8")
    if chosen.json:
        told = {
            "job": chosen.job,
            "images": images,
            "workers": chosen.workers,
            "files": medium,
            "machine": where,
            "runs": {key: [asdict(one) for one in some] for key, some in runs.items()},
        }
        chosen.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
