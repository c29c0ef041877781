"""Every op of the catalogue has the published suite: a class in ``every/``, with its instances and what differs."""

import importlib.util
from pathlib import Path

import pytest

from kaleidoscope import registry
from kaleidoscope.ops.base import Op
from kaleidoscope.testing import OpTests

SUITES = Path(__file__).parent / "every"


def suites():
    """Return the subclasses of the published suite, by name."""
    found = {}
    for path in sorted(SUITES.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found |= {
            name: kind
            for name, kind in vars(module).items()
            if isinstance(kind, type) and issubclass(kind, OpTests) and kind is not OpTests
        }
    return found


@pytest.mark.parametrize("name", [name for name in registry.op_names() if issubclass(registry.find_op(name), Op)])
def test_every_op_of_the_catalogue_has_its_tests(name):
    suite = suites().get(f"Test{name}")
    assert suite is not None, f"{name} has no class Test{name}(OpTests) in {SUITES}"
    assert {type(op) for op in suite.instances} == {registry.find_op(name)}
