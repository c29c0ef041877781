"""A GPU beside the processor's cores: every kernel beside its twin, then jobs A and B, and where their time goes.

::

    python tests/benchmarks/gpu.py                                  # on a machine with a GPU
    python tests/benchmarks/gpu.py --images 512 --json gpu.json
    python tests/benchmarks/gpu.py --device cpu --images 2 --shrink 4    # on tensors of the CPU, to try it

Of each kernel it says which share of the pixels is within 2 levels of what OpenCV makes here; less than 99.5 % of an
image is a failure. Job A is the 64 variants of photographs of 512 x 512, job B photographs of 12 megapixels to
341 x 256; outputs stay in memory, so that no disk plays a part. The cores' side is the walk of one image in a process
for each core. The device's side decodes and encodes in threads, as many as there are cores. The shares of its time -
decode, upload, kernels, download, encode - are of a run in which each waits for the one before; the rate is of one in
which they do not.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import machine
import numpy as np
import torch
from inputs import QUALITY, SIZES, cut_out

from kaleidoscope import ops, samples
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.torch import TorchBackend
from kaleidoscope.codecs import Encoder
from kaleidoscope.ops.base import Op
from kaleidoscope.ops.combine import as_recipe
from kaleidoscope.plan import Plan, make_plan
from kaleidoscope.read import Picture, load
from kaleidoscope.record import ImageRecord, Source
from kaleidoscope.testing.device_tests import FRAMES, SHARE, agreement, moves, on_device, pictures
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk
from kaleidoscope.walk_batch import Traveller, walk_batch

#: Recipes as in the README and in compare.py.
RECIPES: dict[str, Any] = {
    "A": [
        ops.HorizontalFlip(),
        ops.Rotate(limit=15),
        ops.HueSaturationValue(),
        ops.RandomBrightnessContrast(),
        ops.GaussianBlur(),
        ops.GaussNoise(),
    ],
    "B": ops.Resize(256, 341, interpolation="area"),
}
SEED = 7
SHARES = ("decode", "upload", "kernels", "download", "encode")
_ENCODER = Encoder("jpg", quality=95)


# ---- every kernel beside its twin


def instances() -> list[tuple[Op, Callable[[Op, Any], bool]]]:
    """Return the ops of the tests, and which frames they take."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))
    import test_torch_kernels as tested

    return [(op, tested.takes) for op in tested.INSTANCES]


def worst_agreement(op: Op, takes: Callable[[Op, Any], bool], device: str) -> float:
    """Return the least share of pixels of an image that are within 2 levels, over all frames."""
    cpu, worst = Cv2Backend(), 1.0
    for frame in FRAMES:
        if takes(op, frame):
            made = on_device(op, frame, device)
            for image, mine, one in zip(pictures(frame, 4), moves(op, frame, 4), made, strict=True):
                wanted = cpu.apply(image, mine)
                worst = min(worst, agreement(one, wanted))
                cpu.release(wanted)
    return worst


def check(device: str) -> list[tuple[str, float]]:
    """Return the worst agreement of every kernel, the worst first."""
    return sorted(((repr(op), worst_agreement(op, takes, device)) for op, takes in instances()), key=lambda row: row[1])


# ---- jobs


def plan_of(job: str) -> Plan:
    """Return the job's recipe, planned."""
    return make_plan(grow(as_recipe(RECIPES[job])))


def make_images(job: str, folder: Path, count: int, shrink: int) -> list[str]:
    """Write the images of a job, their sides so many times smaller than they are in it; return their paths."""
    photographs = [cv2.imread(str(path)) for path in sorted(samples.folder().glob("*.jpg"))]
    height, width = (side // shrink for side in SIZES[job])
    paths = []
    for index in range(count):
        image = cut_out(photographs[index % len(photographs)], height, width, np.random.default_rng(index))
        paths.append(str(folder / f"{index:05}.jpg"))
        cv2.imwrite(paths[-1], image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return paths


def decoded(job: str, path: str) -> Picture:
    """Return an image, read and decoded as small as the job may have it."""
    _, picture = load(ImageRecord(path, source=Source(path)))
    first = RECIPES[job]
    by = picture.reduction(first.reduction(picture.frame)) if isinstance(first, Op) else 1
    return Picture(picture.frame, {by: picture.at(by)}.__getitem__, picture.reductions)


def on_a_core(work: tuple[str, str]) -> int:
    """Decode an image, make its variants and encode them; return how many bytes that came to."""
    job, path = work
    cv2.setNumThreads(1)
    backend = Cv2Backend()
    picture = decoded(job, path)
    return sum(
        len(_ENCODER.encode(outcome.pixels))
        for outcome in walk(plan_of(job), picture, key=path, seed=SEED, backend=backend)
        if outcome.pixels is not None
    )


def cores(job: str, paths: list[str], count: int) -> float:
    """Return outputs a second of so many processes, once they are up."""
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(on_a_core, [(job, path) for path in paths[:count]]))  # they import, and make their tables
        start = time.perf_counter()
        list(pool.map(on_a_core, [(job, path) for path in paths]))
        return len(paths) * len(plan_of(job).tree) / (time.perf_counter() - start)


class Watched(TorchBackend):
    """A backend that waits for the device and says where its time went."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.seconds: Counter[str] = Counter()

    def upload(self, images: Any) -> Any:
        """Move images to the device, and wait until they are there."""
        with timed(self.seconds, "upload", self.device):
            return super().upload(images)

    def download(self, places: Any) -> Any:
        """Fetch images."""
        with timed(self.seconds, "download", self.device):
            return super().download(places)

    def finished(self, places: Any, encoder: Any) -> Any:
        """Encode what can be encoded on the device; fetch the rest, which is no encoding."""
        before = self.seconds["download"]
        with timed(self.seconds, "encode", self.device):
            made = super().finished(places, encoder)
        self.seconds["encode"] -= self.seconds["download"] - before
        return made

    def apply(self, sources: Any, moves: Any) -> Any:
        """Apply ops, and wait until they are done."""
        with timed(self.seconds, "kernels", self.device):
            return super().apply(sources, moves)


@contextmanager
def timed(seconds: Counter[str], what: str, device: torch.device) -> Iterator[None]:
    """Add how long the block takes, the device's work among it."""
    start = time.perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds[what] += time.perf_counter() - start  # type: ignore[assignment]


def on_the_device(job: str, paths: list[str], backend: TorchBackend, threads: int) -> float:
    """Return how many seconds the job takes: threads decode and encode while the device works."""
    seconds: Counter[str] = getattr(backend, "seconds", Counter())
    waits = hasattr(backend, "seconds")
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        with timed(seconds, "decode", backend.device):
            images = list(pool.map(lambda path: decoded(job, path), paths))
        party = [Traveller(path, image) for path, image in zip(paths, images, strict=True)]
        under_way: list[Any] = []
        fetch = partial(backend.finished, encoder=_ENCODER)
        for _, outcome in walk_batch(plan_of(job), party, seed=SEED, backend=backend, fetch=fetch):
            if outcome.error is not None:
                raise outcome.error
            if outcome.encoded is None:
                under_way.append(pool.submit(_ENCODER.encode, outcome.pixels))
            if len(under_way) >= len(paths):
                with timed(seconds, "encode", backend.device):
                    for one in under_way if waits else under_way[: len(under_way) // 2]:
                        one.result()
                under_way = [] if waits else under_way[len(under_way) // 2 :]
        with timed(seconds, "encode", backend.device):
            for one in under_way:
                one.result()
    return time.perf_counter() - start


def measure(job: str, device: str, images: int, threads: int, shrink: int) -> dict[str, Any]:
    """Return the rates of both sides, in outputs a second, and the shares of the device's time."""
    outputs = images * len(plan_of(job).tree)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_images(job, Path(folder), images, shrink)
        on_the_device(job, paths[: min(8, images)], TorchBackend(device), threads)  # it warms up
        watched = Watched(device)
        whole = on_the_device(job, paths, watched, threads)
        seconds = on_the_device(job, paths, TorchBackend(device), threads)
        here = cores(job, paths, threads)
    spent = {what: watched.seconds[what] / whole for what in SHARES}
    return {"job": job, "outputs": outputs, "device": outputs / seconds, "cores": here, "shares": spent}


def main() -> int:
    """Print what came of it; 1 if a kernel disagrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--threads", type=int, default=machine.describe()["cores"])
    parser.add_argument("--job", nargs="*", default=["A", "B"], choices=sorted(RECIPES))
    parser.add_argument("--shrink", type=int, default=1, help="make images of so many times smaller sides, to try it")
    parser.add_argument("--no-check", action="store_true", help="leave the kernels out")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    backend = TorchBackend(asked.device)
    card = torch.cuda.get_device_name(backend.device) if backend.device.type == "cuda" else "tensors of the CPU"
    said = f"{card}, torch {torch.__version__}; {machine.sentence(machine.describe())}"
    print(said)
    rows = [] if asked.no_check else check(asked.device)
    bad = [row for row in rows if row[1] < SHARE]
    if rows:
        print(f"\n{len(rows)} kernels, {len(bad)} of which disagree. The worst:")
        for name, share in rows[: max(5, len(bad))]:
            print(f"  {share:8.3%} {name}")
    results = [measure(job, asked.device, asked.images, asked.threads, asked.shrink) for job in asked.job]
    if results:
        print(f"\n| job | device, outputs/s | {asked.threads} cores | times | {' | '.join(SHARES)} |")
        print("| --- " + "| ---: " * (3 + len(SHARES)) + "|")
    for one in results:
        shares = " | ".join(f"{one['shares'][what]:.0%}" for what in SHARES)
        times = one["device"] / one["cores"]
        print(f"| {one['job']} | {one['device']:,.0f} | {one['cores']:,.0f} | {times:.2f} | {shares} |")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": said, "kernels": rows, "jobs": results}, indent=1), "utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
