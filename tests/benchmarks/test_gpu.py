import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def run(*arguments):
    command = [sys.executable, HERE / "gpu.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_benchmark_runs_on_tensors_of_the_cpu(tmp_path):
    done = run(
        "--device", "cpu", "--images", "1", "--threads", "1", "--shrink", "16", "--no-check", "--json", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    jobs = json.loads((tmp_path / "out").read_text("utf-8"))["jobs"]
    assert [(one["job"], one["outputs"]) for one in jobs] == [("A", 64), ("B", 1)]
    for one in jobs:
        assert one["device"] > 0
        assert one["cores"] > 0
        assert 0.5 < sum(one["shares"].values()) < 1.01
    assert (
        "| job | device, outputs/s | 1 cores | times | decode | upload | kernels | download | encode |" in done.stdout
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch sees none")
def test_every_kernel_agrees_on_the_gpu():
    done = run("--job")
    assert done.returncode == 0, done.stdout + done.stderr
