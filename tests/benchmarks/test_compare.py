import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def compare(to, *options):
    """Run the command, and return what it printed and what it wrote as JSON."""
    command = [sys.executable, HERE / "compare.py", "--to", to, "--rounds", "1", "--json", to / "out.json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((to / "out.json").read_text("utf-8"))


@pytest.fixture
def modules(monkeypatch):
    """Import the harness's modules as its own scripts do."""
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module


@pytest.mark.parametrize(
    ("job", "contenders", "outputs"),
    [
        ("A", ["kaleidoscope", "script", "script-shared", "ceiling"], 2 * 64),
        ("B", ["kaleidoscope", "script-scaled", "ceiling"], 2),
        ("C", ["kaleidoscope"], 8),
        ("D", ["kaleidoscope"], 8),
    ],
)
def test_each_contender_makes_all_outputs_and_has_a_row(tmp_path, job, contenders, outputs):
    printed, told = compare(tmp_path, "--job", job, "--images", "2", "--only", *contenders)
    assert list(told["runs"]) == contenders
    for name, [run] in told["runs"].items():
        assert run["error"] == "", name
        assert run["outputs"] == outputs, name
        assert run["seconds"] > 0, name
    weights = {name: run["bytes"] for name, [run] in told["runs"].items()}
    if "ceiling" in weights:
        assert weights["ceiling"] == weights["kaleidoscope"], "the ceiling writes Kaleidoscope's pixels"
    for name, weight in weights.items():
        assert 0.8 < weight / weights["kaleidoscope"] < 1.25, f"{name} does less work, or more: other pixels to encode"
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(contenders)
    assert rows[2].startswith("| Kaleidoscope, threads |")
    assert not any("failed" in row or "not installed" in row for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json"], "the images are gone"


def test_ratio_is_that_of_neighbours(modules):
    run, table = modules("race").Run, modules("table")
    ours = [run(outputs=100, seconds=seconds) for seconds in (1.0, 4.0, 2.0)]
    peer = [run(outputs=100, seconds=seconds) for seconds in (2.0, 8.0, 3.0)]
    assert table.ratio(ours, peer) == 2.0
    assert table.ratio(ours, [peer[0], run(error="killed"), peer[2]]) == (2.0 + 1.5) / 2
    assert table.ratio(ours, [run(error="killed")] * 3) is None


def test_start_of_a_cluster_is_told_apart(modules):
    run, table = modules("race").Run, modules("table")
    assert table.rate(run(outputs=100, seconds=4.0, start=3.0)) == 25
    assert table.rate_up(run(outputs=100, seconds=4.0, start=3.0)) == 100


def test_peer_that_is_not_installed_is_listed_with_the_line_that_installs_it(modules):
    one = next(one for one in modules("contenders").CONTENDERS if one.key == "daft")
    assert "| Daft | not installed: `.venv-bench/daft/bin/pip install daft==" in modules("table").row(one, {})


def test_failure_is_a_row(modules):
    contenders, table, run = modules("contenders"), modules("table"), modules("race").Run
    one = next(one for one in contenders.CONTENDERS if one.key == "script")
    broken = table.row(one, {"script": [run(error="Traceback\nValueError: no")]})
    assert "failed: ValueError: no" in broken
    half = table.row(one, {"script": [run(error="no"), run(outputs=10, bytes=10_000, seconds=2.0)]})
    assert "1 of 2 rounds failed" in half
    assert "| 5 |" in half
    assert "1.0 |" in half
