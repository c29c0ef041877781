"""What holds for all tests."""

import os

from hypothesis import settings

# No assertion on time: machines are busy. In CI examples are the same each time, so that a red run can be repeated.
settings.register_profile("kaleidoscope", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("kaleidoscope")
