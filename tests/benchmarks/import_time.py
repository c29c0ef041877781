"""What `import kaleidoscope` costs, as a multiple of `import dask.bag, cv2, numpy`, which it needs anyway.

Run ``python tests/benchmarks/import_time.py``. The two are timed in turns, each in fresh processes without
coverage or site hooks of a test run, so that a slow minute of the machine slows both.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

ROUNDS = 15
OURS, FLOOR = "import kaleidoscope", "import dask.bag, cv2, numpy"


def seconds(statement: str) -> float:
    """Return how long the statement takes in a fresh process, without the interpreter's own start."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> None:
    """Print both medians and their ratio."""
    for statement in (OURS, FLOOR):
        seconds(statement)  # the first of each fills the file cache and writes byte code
    times = [(seconds(OURS), seconds(FLOOR)) for _ in range(ROUNDS)]
    ours, floor = (median(column) for column in zip(*times, strict=True))
    ratio = median(a / b for a, b in times)
    print(f"{OURS}: {ours * 1e3:.0f} ms; {FLOOR}: {floor * 1e3:.0f} ms; ratio {ratio:.2f} ({ROUNDS} rounds)")


if __name__ == "__main__":
    main()
