import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

from kaleidoscope import ops, registry
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.base import Geometric, Op, Part
from kaleidoscope.ops.choose import Choice
from kaleidoscope.ops.combine import Combinator
from kaleidoscope.ops.distortion import Distortion
from kaleidoscope.ops.holes import InPlace, Occlusion
from kaleidoscope.ops.sized import Sized, WholeSized
from kaleidoscope.recipe import from_spec, to_spec
from kaleidoscope.tree import grow

PLUGIN = """
import numpy as np
from kaleidoscope.ops.base import Op, op

@op
class Invert(Op):
    strength: float = 1.0
    short_name = "invert"

    def kernel(self, src, params, out):
        np.subtract(src.max(), src, out=out)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a package that adds an op, the way pip does it."""
    (tmp_path / "house_of_ops.py").write_text(PLUGIN)
    info = tmp_path / "house_of_ops-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: house-of-ops\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kaleidoscope.ops]\nInvert = house_of_ops:Invert\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry._plugins.cache_clear()
    yield
    registry._plugins.cache_clear()
    sys.modules.pop("house_of_ops", None)


def loaded_after(code):
    """Return the modules that a fresh process has loaded after running `code`."""
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("name", sorted(registry._BUILTIN_OPS))
def test_every_name_of_the_table_is_a_class_of_that_name(name):
    found = registry.find_op(name)
    assert found is getattr(ops, name)
    assert found.__name__ == name
    assert found.__module__ == registry._BUILTIN_OPS[name]
    assert issubclass(found, Part)


def test_every_op_there_is_stands_in_the_table():
    modules = [importlib.import_module(f"kaleidoscope.ops.{m.name}") for m in pkgutil.iter_modules(ops.__path__)]
    classes = {c.__name__ for m in modules for _, c in inspect.getmembers(m, inspect.isclass) if issubclass(c, Part)}
    kinds = (Part, Op, Geometric, Sized, WholeSized, Distortion, Combinator, Choice, InPlace, Occlusion)
    bases = {base.__name__ for base in kinds}
    assert {name for name in classes - bases if not name.startswith("_")} == set(registry._BUILTIN_OPS)


def test_short_names_are_parts_of_file_names_and_belong_to_one_class_each():
    kinds = [registry.find_op(name) for name in registry._BUILTIN_OPS]
    shorts = [kind.short_name for kind in kinds if issubclass(kind, Op)]
    assert len(set(shorts)) == len(shorts)
    assert all(short.isascii() and short.isalnum() and short.islower() for short in shorts)


def test_the_catalogue_lists_its_names():
    assert registry.op_names() == sorted(registry._BUILTIN_OPS)
    assert dir(ops) == sorted([*registry.op_names(), *ops._CONVERTERS])


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(RecipeError, match=r"no op called 'Rotat'\. Did you mean 'Rotate'\?"):
        registry.find_op("Rotat")


def test_a_name_like_none_is_answered_with_all():
    with pytest.raises(RecipeError, match=r"no op called 'Zzz'\. There are .*Affine, .*, VerticalFlip.*\.$"):
        registry.find_op("Zzz")


def test_an_unknown_attribute_is_an_attribute_error_that_suggests():
    with pytest.raises(AttributeError, match=r"Did you mean 'GaussianBlur'\?"):
        ops.GausianBlur  # noqa: B018 - asking is the test
    assert not hasattr(ops, "__wrapped__")


@pytest.mark.usefixtures("plugin")
def test_an_entry_point_adds_an_op():
    assert "Invert" in registry.op_names()
    assert "Invert" in dir(ops)
    assert ops.Invert.__module__ == "house_of_ops"
    assert grow(ops.PowerSet(ops.HorizontalFlip(), ops.Invert())).variants[-1] == "invert"
    assert from_spec(to_spec(ops.Invert(strength=0.5))) == ops.Invert(strength=0.5)
    with pytest.raises(RecipeError, match="Did you mean 'Invert'"):
        registry.find_op("Inverse")


@pytest.mark.usefixtures("plugin")
def test_listing_names_does_not_load_what_they_stand_for():
    registry.op_names()
    assert "house_of_ops" not in sys.modules


def test_importing_ops_loads_nothing_else():
    ours = {name for name in loaded_after("import kaleidoscope.ops") if name.startswith("kaleidoscope")}
    assert ours == {"kaleidoscope", "kaleidoscope.ops", "kaleidoscope.registry", "kaleidoscope.errors"}


def test_an_op_loads_its_own_family_only():
    loaded = loaded_after("from kaleidoscope import ops; ops.HorizontalFlip()")
    assert "kaleidoscope.ops.flip" in loaded
    assert not loaded & {"cv2", "kaleidoscope.ops.affine", "kaleidoscope.ops.colour", "kaleidoscope.ops.combine"}
