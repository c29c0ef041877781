import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def bench(monkeypatch):
    """Import the script as it imports its neighbours; other tests have an `ops` of their own."""
    monkeypatch.syspath_prepend(HERE)
    yield importlib.import_module("ops")
    del sys.modules["ops"]


def test_rows_are_sorted_and_summed_up(bench):
    rows = [bench.Row("Fast", {}, 1.0, 4.0, 9), bench.Row("Slow", {}, 2.0, 1.0, 9), bench.Row("Even", {}, 3.0, 3.0, 9)]
    lines = bench.table([*rows, bench.Row("Odd", {}, error="ValueError: no")]).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:6]] == ["Slow", "Even", "Fast", "Odd"]
    assert lines[2].endswith("| 0.50 |")
    assert "not measured: ValueError: no" in lines[5]
    assert lines[-1] == "Median of 3 ops: 1.00. Below 0.9: Slow."


def test_both_take_turns_and_warm_up(bench):
    done = []
    mine, other = bench.take_turns(lambda: done.append("ours"), lambda: done.append("theirs"), seconds=0.0)
    assert len(mine) == len(other) == bench.LEAST
    assert done == ["ours", "theirs"] * (bench.WARM_UP + bench.LEAST)


def test_measured_in_the_environment_that_has_both(bench, tmp_path):
    if not bench.PYTHON.exists():
        pytest.skip("no environment with both: python tests/benchmarks/ops.py --install")
    command = [sys.executable, HERE / "ops.py", "--only", "HorizontalFlip", "Resize", "--seconds", "0"]
    done = subprocess.run([*command, "--json", tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out").read_text("utf-8"))["rows"]
    assert [row["op"] for row in rows] == ["HorizontalFlip", "Resize"]
    assert all(row["ours"] > 0 and row["theirs"] > 0 and not row["error"] for row in rows)
    assert "Median of 2 ops" in done.stdout
