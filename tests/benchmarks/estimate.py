"""What an estimate says beside what the job then comes to, as one table.

::

    python tests/benchmarks/estimate.py --rounds 5 --markdown estimate.md --json estimate.json

Jobs A and B of ``compare.py``, each in a process of its own that estimates it and then does it: on threads, on a
cluster of a process for each core, and from ``s3://`` to ``s3://`` (``rclone serve s3`` on this machine, behind a
process that counts requests and passes each on at once or ``--latency`` later; server and that process share the
cores, which no estimate can know). Figures are predicted ÷ actual, medians over the rounds, and for seconds the range.
``--clock cpu`` compares the processor's time instead, on threads only: for a machine that is busy.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import machine
from contenders import ROOT
from inputs import make_inputs
from race import TIMEOUT
from s3 import HERE, KEY, RAM_DISK, SECRET, process, server

#: Images that take some seconds on two cores.
IMAGES = {"A": 64, "B": 512}
FIGURES = ("outputs", "bytes", "seconds", "put", "get", "list")


@dataclass(frozen=True)
class Way:
    """One way to do a job.

    Parameters
    ----------
    key, title : str
        What ``--only`` and the table call it.
    cluster : bool
        On a cluster of processes.
    latency : float or None
        Of the way to S3, as a share of the one that was asked for; None for a folder.
    """

    key: str
    title: str
    cluster: bool = False
    latency: float | None = None


WAYS = (
    Way("threads", "threads, disk"),
    Way("cluster", "cluster, disk", cluster=True),
    Way("s3", "threads, S3", latency=0.0),
    Way("s3-far", "threads, S3, latency", latency=1.0),
)


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", nargs="*", choices=IMAGES, default=[*IMAGES])
    parser.add_argument("--images", type=int, help=f"default: {IMAGES}")
    parser.add_argument("--latency", type=float, default=30, help="milliseconds (default: 30)")
    parser.add_argument("--workers", type=int, default=machine.describe()["cores"], help="default: all cores")
    parser.add_argument("--only", nargs="*", choices=[way.key for way in WAYS])
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    home = RAM_DISK if RAM_DISK.is_dir() else None
    parser.add_argument("--to", type=Path, default=home, metavar="FOLDER", help="files lie in a new folder in it")
    parser.add_argument("--json", type=Path, help="write all runs there")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    chosen = parser.parse_args()
    if chosen.clock == "cpu":
        chosen.only = ["threads"]
    return chosen


def run(way: Way, job: str, folder: Path, place: str, passing: Any, chosen: argparse.Namespace) -> dict[str, Any]:
    """Estimate a job and do it, in a process of its own; its outputs are gone before the next one starts."""
    top = str(folder) if passing is None else "s3:/"
    port = None if passing is None else passing.port
    options = None if port is None else {"key": KEY, "secret": SECRET, "endpoint_url": f"http://127.0.0.1:{port}"}
    task = {
        "job": job,
        "inputs": f"{top}/{job.lower()}-in/",
        "outputs": f"{top}/out/{place}",
        "options": options,
        "workers": chosen.workers,
        "cluster": way.cluster,
        "probe": passing is not None,
        "clock": chosen.clock,
        "way": None if passing is None else passing.pid,
    }
    env = {**os.environ, "PYTHONPATH": str(ROOT), "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, "-W", "ignore", HERE / "estimate_write.py", json.dumps(task)]
    started = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    shutil.rmtree(folder / "out" / place, ignore_errors=True)
    if started.returncode:
        sys.exit(f"{way.title}, job {job}: {started.stderr.strip()[-1000:]}")
    told = json.loads(started.stdout.strip().splitlines()[-1])
    if passing is not None:
        told["actual"] |= passing.counts()
    return told


class Passing:
    """A way to a server that counts, as a process of its own."""

    def __init__(self, stack: ExitStack, port: int, delay: float) -> None:
        command = (sys.executable, HERE / "counted.py", delay, port)
        self._process = stack.enter_context(process(command, stdout=subprocess.PIPE))
        self.pid = self._process.pid
        self.port = int(self._process.stdout.readline())

    def counts(self) -> dict[str, int]:
        """Return what has passed since the estimate was done."""
        os.kill(self.pid, signal.SIGUSR1)
        self._process.stdout.readline()  # the estimate's own
        return json.loads(self._process.stdout.readline())


def table(runs: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> str:
    """Return the runs as Markdown."""
    lines = [f"| | {' | '.join(FIGURES)} | seconds: range | s actual | s to estimate |", "| --- |" + " ---: |" * 9]
    for (job, key), some in runs.items():
        title = next(way.title for way in WAYS if way.key == key)
        cells = []
        for name in FIGURES:
            ratios = [one["predicted"][name] / one["actual"][name] for one in some if one["actual"].get(name)]
            cells.append(f"{median(ratios):.2f}" if ratios else "")
        seconds = [one["predicted"]["seconds"] / one["actual"]["seconds"] for one in some]
        cells.append(f"{min(seconds):.2f} to {max(seconds):.2f}")
        cells.append(f"{median(one['actual']['seconds'] for one in some):.1f}")
        cells.append(f"{median(one['took'] for one in some):.1f}")
        lines.append(f"| {job}, {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def race(folder: Path, chosen: argparse.Namespace) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Let jobs and ways take turns; return the runs of each."""
    ways = [way for way in WAYS if not chosen.only or way.key in chosen.only]
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {(job, way.key): [] for job in chosen.job for way in ways}
    with ExitStack() as stack:
        passing: dict[float, Passing] = {}
        if any(way.latency is not None for way in ways):
            port = stack.enter_context(server(folder))
            shares = {way.latency for way in ways if way.latency is not None}
            passing = {share: Passing(stack, port, share * chosen.latency / 1000) for share in shares}
        for number in range(chosen.rounds):
            for job in chosen.job:
                for way in ways:
                    through = None if way.latency is None else passing[way.latency]
                    one = run(way, job, folder, f"{job}-{way.key}-{number}", through, chosen)
                    runs[job, way.key].append(one)
                    print(f"round {number + 1}, job {job}, {way.title}: {json.dumps(one)}", file=sys.stderr)
    return runs


def main() -> None:
    """Do what the command line says."""
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # by way of every `finally`
    where, folder = machine.describe(), Path(tempfile.mkdtemp(prefix="bench", dir=chosen.to))
    try:
        for job in chosen.job:
            make_inputs(job, folder / f"{job.lower()}-in", chosen.images or IMAGES[job])
        (folder / "out").mkdir()
        runs = race(folder, chosen)
    finally:
        shutil.rmtree(folder)
    text = (
        f"Predicted ÷ actual, {chosen.clock} clock, {chosen.workers} threads, {chosen.latency:.0f} ms latency, "
        f"{chosen.rounds} rounds.\n{machine.sentence(where)}.\n\n{table(runs)}"
    )
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text + "\n", "utf-8")
    if chosen.json:
        told = {
            "machine": where,
            "clock": chosen.clock,
            "runs": {f"{job} {way}": some for (job, way), some in runs.items()},
        }
        chosen.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
