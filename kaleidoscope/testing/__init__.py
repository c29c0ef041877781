"""Published suites: what every op has to do, as tests to subclass, and strategies for property tests.

`OpTests` and `DeviceTests` run under pytest, `recipes` under hypothesis. Both come with the extra ``test``, and neither
is imported here before it is used.
"""

from kaleidoscope.testing.device_tests import DeviceTests
from kaleidoscope.testing.op_tests import OpTests
from kaleidoscope.testing.strategies import recipes

__all__ = ["DeviceTests", "OpTests", "recipes"]
