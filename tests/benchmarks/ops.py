"""Every op that Kaleidoscope and Albumentations both have, one against the other, on one thread.

::

    python tests/benchmarks/ops.py --install                     # both with one OpenCV, in .venv-bench/ops
    python tests/benchmarks/ops.py --json ops.json --markdown ops.md
    python tests/benchmarks/ops.py --only Rotate GaussianBlur --seconds 2

A photograph of 512 x 512 x 3 ``uint8``; the two take turns, and of the times of each the median counts. Ours is what a
walk does at a node: the draw, and the kernel or warp into a buffer that is used again. Theirs is
``transform(image=image)["image"]`` with p=1, without a ``Compose`` around it. Both use OpenCV 5.0, which Kaleidoscope
needs; some of theirs, warps above all, are faster with OpenCV 4 (see ``compare.py``).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import machine
from contenders import ENVIRONMENTS, ROOT
from ops_settings import SETTINGS

ENVIRONMENT = ENVIRONMENTS / "ops"
PYTHON = ENVIRONMENT / "bin" / "python"
#: In turns, as pip's words: ours with its OpenCV, then theirs, without the distribution of OpenCV that it asks for.
REQUIREMENTS = (
    ("--editable", str(ROOT), "opencv-python==5.0.0.93", "scipy", "pydantic", "simsimd", "stringzilla"),
    ("--no-deps", "albumentations==2.0.8", "albucore==0.0.24"),
)
SIZE = 512
#: Of ops that both have, those that do not start from an image of bytes alone: from floats, boxes or masks.
ELSEWHERE = {"FromFloat", "BBoxSafeRandomCrop", "CropNonEmptyMaskIfExists", "MaskDropout"}
#: Repetitions of each at least, however slow, and before those that count.
LEAST, WARM_UP = 9, 2


@dataclass(frozen=True)
class Row:
    """What came of one op: medians in milliseconds, or why there is none."""

    op: str
    settings: dict[str, Any]
    ours: float = 0.0
    theirs: float = 0.0
    repetitions: int = 0
    error: str = ""

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.theirs / self.ours


def install() -> None:
    """Make the environment that has both, unless it is there."""
    if (ENVIRONMENT / "installed").exists():
        return
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", ENVIRONMENT], *([*pip, *words] for words in REQUIREMENTS)):
        print(*command, file=sys.stderr)
        subprocess.run(command, check=True)
    (ENVIRONMENT / "installed").touch()


def take_turns(
    ours: Callable[[], object], theirs: Callable[[], object], seconds: float
) -> tuple[list[float], list[float]]:
    """Return the seconds that each repetition of the two took, for as long as is said in all."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(WARM_UP):
        ours()
        theirs()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < LEAST:
        for function, taken in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return times


def measure(name: str, seconds: float) -> Row:
    """Return how long both take for an op."""
    import albumentations
    import cv2
    import numpy as np

    from kaleidoscope import ops, samples
    from kaleidoscope.backends.cv2 import Cv2Backend
    from kaleidoscope.backends.moves import moves_of
    from kaleidoscope.record import Frame

    settings = SETTINGS.get(name, {})
    image = cv2.imread(str(samples.folder() / "astronaut.jpg"))[:SIZE, :SIZE, ::-1].copy()
    backend, rng, frame = Cv2Backend(), np.random.default_rng(0), Frame.of(image)
    try:
        op, transform = getattr(ops, name)(**settings), getattr(albumentations, name)(p=1, **settings)
        transform.set_random_seed(0)

        def ours() -> None:
            params = op.sample_params(rng, frame)
            backend.release(backend.apply(image, moves_of(op, params, frame)))

        def theirs() -> None:
            transform(image=image)["image"]

        mine, other = take_turns(ours, theirs, seconds)
    except Exception as error:  # noqa: BLE001 - one that fails is a row, and the others go on
        return Row(name, settings, error=f"{type(error).__name__}: {error}".splitlines()[0])
    return Row(name, settings, 1000 * median(mine), 1000 * median(other), len(mine))


def names() -> list[str]:
    """Return the ops that both have."""
    import albumentations

    from kaleidoscope import registry

    theirs = (getattr(albumentations, name, None) for name in registry.op_names())
    kinds = [kind for kind in theirs if isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform)]
    return [kind.__name__ for kind in kinds if kind.__name__ not in ELSEWHERE]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown, the slowest of ours against theirs first, and what they come to."""
    lines = [
        "| op | Kaleidoscope, ms | Albumentations, ms | Albumentations ÷ Kaleidoscope |",
        "| --- | ---: | ---: | ---: |",
    ]
    measured = sorted((row for row in rows if not row.error), key=lambda row: row.ratio)
    lines += [f"| {row.op} | {row.ours:.3f} | {row.theirs:.3f} | {row.ratio:.2f} |" for row in measured]
    lines += [f"| {row.op} | not measured: {row.error} | | |" for row in rows if row.error]
    if measured:
        ratios = [row.ratio for row in measured]
        slower = [row.op for row in measured if row.ratio < 0.9]
        lines += [
            "",
            f"Median of {len(ratios)} ops: {median(ratios):.2f}. Below 0.9: {', '.join(slower) or 'none'}.",
        ]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--install", action="store_true", help=f"make {ENVIRONMENT.relative_to(ROOT)} first")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these ops; default: all that both have")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each op; default: 0.5")
    parser.add_argument("--json", type=Path, help="write all rows there")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    return parser.parse_args()


def main() -> None:
    """Do what the command line says, in the environment that has both."""
    chosen = arguments()
    if chosen.install:
        install()
    if find_spec("albumentations") is None:
        if not PYTHON.exists():
            sys.exit("Albumentations is not installed: add --install")
        words = [word for word in sys.argv[1:] if word != "--install"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1", "OMP_NUM_THREADS": "1"}
        sys.exit(subprocess.run([PYTHON, "-W", "ignore", __file__, *words], env=env, check=False).returncode)

    import cv2

    cv2.setNumThreads(1)
    gc.disable()
    rows = []
    for name in chosen.only or names():
        rows.append(measure(name, chosen.seconds))
        gc.collect()
    where = machine.describe()
    text = (
        f"{SIZE} x {SIZE} x 3 uint8, one thread, OpenCV {cv2.__version__}. {machine.sentence(where)}.\n\n{table(rows)}"
    )
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text + "\n", "utf-8")
    if chosen.json:
        everything = {"machine": where, "opencv": cv2.__version__, "rows": [asdict(row) for row in rows]}
        chosen.json.write_text(json.dumps(everything, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
