import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.mark.skipif(shutil.which("rclone", path=PLACES) is None, reason="rclone, which serves S3, is missing")
def test_what_was_said_stands_beside_what_came(tmp_path):
    command = [sys.executable, HERE / "estimate.py", "--to", tmp_path, "--json", tmp_path / "out.json"]
    options = ["--rounds", "1", "--images", "2", "--job", "A", "--only", "s3"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ((name, [run]),) = json.loads((tmp_path / "out.json").read_text("utf-8"))["runs"].items()
    assert name == "A s3"
    assert run["predicted"]["outputs"] == run["actual"]["outputs"] == 128
    assert run["predicted"]["put"] <= run["actual"]["put"] + 1
    assert "| A, threads, S3 | 1.00 |" in done.stdout
