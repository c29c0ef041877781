import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def bench(monkeypatch):
    """Import the command as its neighbours do."""
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("s3")


@pytest.mark.slow
def test_one_command_prints_what_s3_costs_beside_the_disk(tmp_path):
    ways = ["disk", "obstore", "obstore-far"]
    command = [sys.executable, HERE / "s3.py", "--to", tmp_path, "--images", "1", "--rounds", "1", "--only", *ways]
    files = ("--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md")
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert list(told["runs"]) == ways
    for way, [run] in told["runs"].items():
        assert run["error"] == "", way
        assert run["outputs"] == 64
        assert run["cpu"] > 0
    assert (tmp_path / "out.md").read_text("utf-8") == done.stdout
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(ways)
    assert [row[1].strip() for row in rows[2:4]] == ["disk to disk", "S3, obstore"]
    assert [bool(row[3].strip()) for row in rows[2:]] == [False, False, True], "latency is hidden or not"
    assert all(row[5].strip() for row in rows[2:])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.md"], "the images are gone"


def test_ratios_are_those_of_neighbours(bench):
    disk = [bench.Run(outputs=10, seconds=1, cpu=cpu) for cpu in (1.0, 4.0, 2.0)]
    far = [bench.Run(outputs=10, seconds=1, cpu=cpu) for cpu in (2.0, 8.0, 3.0)]
    assert bench.ratio(far, disk, "each") == 2.0
    assert bench.ratio([far[0], bench.Run(error="no"), far[2]], disk, "each") == (2.0 + 1.5) / 2
    assert bench.ratio([bench.Run(error="no")] * 3, disk, "each") is None


def test_failure_is_a_row(bench):
    shown = bench.table({"disk": [bench.Run(error="Traceback\nValueError: no")]})
    assert "| disk to disk | failed: ValueError: no |" in shown
