"""What holds for all tests."""

import json
import os
import time

import pytest
from hypothesis import settings

NOT_YET = 60.0  # seconds after which something that should have happened will not

# No assertion on time: machines are busy. In CI, as `.ci/run` says it is, examples are the same each time, so that a
# red run can be repeated; elsewhere they are others each time.
settings.register_profile("kaleidoscope", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("kaleidoscope")


def pytest_xdist_auto_num_workers(config):
    """One process more than there are cores: tests that wait for servers and clusters leave one of them idle."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def wait_for_scheduler():
    """Return a function that waits until a scheduler's process has written all of its file: at first it is empty."""

    def wait(process, file, log=None):
        end = time.monotonic() + NOT_YET
        while not _has_address(file):
            said = log.read_text() if log else ""
            assert process.poll() is None, f"the scheduler ended: {said}"
            assert time.monotonic() < end, f"the scheduler did not start: {said}"
            time.sleep(0.02)

    return wait


def _has_address(file):
    try:
        return "address" in json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
