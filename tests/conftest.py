"""What holds for all tests."""

import os

from hypothesis import settings

# No assertion on time: machines are busy. In CI, as `.ci/run` says it is, examples are the same each time, so that a
# red run can be repeated; elsewhere they are others each time.
settings.register_profile("kaleidoscope", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("kaleidoscope")


def pytest_xdist_auto_num_workers(config):
    """One process more than there are cores: tests that wait for servers and clusters leave one of them idle."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else (os.cpu_count() or 1) + 1
