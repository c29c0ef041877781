"""Published suites: what every op has to do, as tests to subclass, and strategies for property tests.

`OpTests` runs under pytest, `recipes` under hypothesis. Both come with the extra ``test``, and neither is imported here
before it is used.
"""

from kaleidoscope.testing.op_tests import OpTests
from kaleidoscope.testing.strategies import recipes

__all__ = ["OpTests", "recipes"]
