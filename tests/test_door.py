import subprocess
import sys

import pytest

import kaleidoscope as ks
from kaleidoscope import samples

# What nobody pays for who only names a dataset and a recipe.
SLOW = ["distributed", "pandas", "pyarrow", "s3fs", "torch", "bokeh", "rich", "PIL", "dask.dataframe"]


def in_a_fresh_process(code):
    """Run code as a user's script would be, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def loaded_by(code):
    """Return which of the slow parts some code has loaded."""
    return in_a_fresh_process(f"{code}\nimport sys\nprint(*[m for m in {SLOW!r} if m in sys.modules])").split()


@pytest.mark.parametrize("name", ks.__all__)
def test_every_name_loads(name):
    assert getattr(ks, name) is not None
    assert getattr(ks, name) is getattr(ks, name)


def test_every_name_loads_in_any_order():
    found = in_a_fresh_process(
        "import kaleidoscope as ks\nfor name in reversed(ks.__all__): print(name, getattr(ks, name))"
    )
    assert [line.split()[0] for line in found.splitlines()] == sorted(ks.__all__, reverse=True)


def test_star_import_gives_all():
    names = {}
    exec("from kaleidoscope import *", names)  # as a notebook does
    assert set(ks.__all__) <= set(names)


def test_dir_is_all_and_sorted():
    assert dir(ks) == sorted(ks.__all__)
    assert "__version__" not in ks.__all__


@pytest.mark.parametrize("name", ["read_image", "Augment", "nothing_like_it", "_secret"])
def test_an_unknown_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=rf"'kaleidoscope' has no attribute '{name}'"):
        getattr(ks, name)
    assert not hasattr(ks, name)
    assert getattr(ks, name, None) is None


@pytest.mark.parametrize(("name", "meant"), [("read_image", "read_images"), ("Augment", "augment"), ("opps", "ops")])
def test_an_unknown_name_is_answered_with_the_nearest(name, meant):
    # A traceback adds this itself only where it is printed; a notebook and a log show the message.
    with pytest.raises(AttributeError, match=f"Did you mean '{meant}'"):
        getattr(ks, name)


def test_an_unknown_name_cannot_be_imported():
    with pytest.raises(ImportError, match="read_image"):
        exec("from kaleidoscope import read_image")  # as it is typed


@pytest.mark.parametrize("name", ["Rotat", "nothing"])
def test_an_unknown_op_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=name):
        getattr(ks.ops, name)


def test_every_op_in_dir_loads():
    for name in dir(ks.ops):
        assert getattr(ks.ops, name).__name__ == name


def test_version_is_that_of_the_package():
    from importlib.metadata import version

    assert ks.__version__ == version("kaleidoscope")


def test_doors_of_the_design_are_open():
    for name in ("read_images", "augment", "ops", "read_manifest", "replay", "cluster", "errors"):
        assert name in ks.__all__


class TestWhatIsLoaded:
    def test_the_check_sees_what_is_loaded(self):
        assert {"pandas", "rich"} <= set(loaded_by("import pandas, rich"))

    def test_by_import(self):
        assert loaded_by("import kaleidoscope") == []

    def test_by_ops(self):
        assert loaded_by("import kaleidoscope as ks\nfor name in dir(ks.ops): getattr(ks.ops, name)") == []

    def test_by_listing_augmenting_and_explaining(self):
        code = f"""
import kaleidoscope as ks
from kaleidoscope import ops
views = ks.augment(ks.read_images({str(samples.folder())!r}), [ops.HorizontalFlip(), ops.Rotate()], seed=7)
print(len(views.explain()) > 0 and "", end="")
views.variants, repr(views), views.sample(2)
"""
        assert loaded_by(code) == []

    def test_by_computing_here(self):
        code = f"""
import kaleidoscope as ks
views = ks.augment(ks.read_images({str(samples.folder())!r}, partition_size=1), ks.ops.HorizontalFlip())
assert views.take(1)[0].pixels.ndim == 3
assert views.count().compute() == 6
"""
        assert set(loaded_by(code)) <= {"distributed"}, "which Dask itself looks for when it computes"

    def test_by_a_write_only_what_its_manifest_needs(self, tmp_path):
        code = f"""
import kaleidoscope as ks
views = ks.augment(ks.read_images({str(samples.folder() / "rocket.jpg")!r}), ks.ops.HorizontalFlip())
assert views.write({str(tmp_path)!r}).compute().outputs == 1
"""
        assert set(loaded_by(code)) <= {"distributed", "pyarrow", "pandas"}, "pyarrow loads pandas"
