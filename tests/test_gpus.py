import os
import sys
from types import SimpleNamespace

import pytest

from kaleidoscope import gpus
from kaleidoscope.gpus import devices


@pytest.fixture(autouse=True)
def ask_again():
    gpus._listed.cache_clear()
    yield
    gpus._listed.cache_clear()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("0,1", ("0", "1")), ("", ()), ("-1", ()), ("3, -1, 4", ("3",)), ("GPU-1f,MIG-2", ("GPU-1f", "MIG-2"))],
)
def test_devices_are_those_that_the_environment_shows(monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices() == expected


def test_devices_are_those_that_torch_counts_if_it_is_loaded(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(device_count=lambda: 2)))
    assert devices() == ("0", "1")


@pytest.mark.parametrize(
    ("script", "expected"),
    [("printf '0\\n1\\n'", ("0", "1")), ("echo no driver >&2; exit 9", ()), ("echo No devices were found", ())],
)
def test_devices_are_those_that_the_driver_lists(monkeypatch, tmp_path, script, expected):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert devices() == expected
