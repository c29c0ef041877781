"""The published suite in the hands of somebody else: green for an op that is right, red for each way to be wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaleidoscope import registry
from kaleidoscope.ops.base import Op
from kaleidoscope.testing.strategies import _every_op

#: A package with an op that bends the image, as its author would write it; `BROKEN` says what the author got wrong.
PACKAGE = '''
import os
from dataclasses import replace

import numpy as np
from kaleidoscope.errors import OpError
from kaleidoscope.ops.base import Geometric, Op, op

BROKEN = os.environ["BROKEN"].split(",")


@op
class Wave(Op):
    """Move every row to the right, by up to ``most`` pixels."""

    most: int = 6
    short_name = "wave"

    def sample_params(self, rng, frame):
        if "draws numpy" in BROKEN:
            return {"most": rng.integers(1, self.most + 1)}
        if "draws elsewhere" in BROKEN:
            rng = np.random.default_rng()
        return {"most": int(rng.integers(1, self.most + 1))}

    def out_frame(self, frame, params):
        return replace(frame, channels=1) if "another frame" in BROKEN else frame

    def _shifts(self, y, params):
        return np.rint(params["most"] * (1 + np.sin(y / 9)) / 2)

    def kernel(self, src, params, out):
        if "writes into src" in BROKEN:
            src.flags.writeable = True
            src[0, 0] = 0
        if "leaves holes" not in BROKEN:
            out[:] = 0
        for y, shift in enumerate(self._shifts(np.arange(len(src)), params).astype(int)):
            out[y, shift:] = src[y, : max(0, src.shape[1] - shift)]

    if "no points" not in BROKEN:
        def move_points(self, points, frame, params):
            sign = -1 if "wrong points" in BROKEN else 1
            return points + np.stack([sign * self._shifts(points[:, 1], params), 0 * points[:, 1]], axis=1)

    if "wrong masks" in BROKEN:
        def for_masks(self):
            return replace(self, most=1) and Still()


@op
class Still(Op):
    short_name = "still"

    def kernel(self, src, params, out):
        out[:] = src // 2


@op
class Shift(Geometric):
    """Move the image by whole pixels."""

    by: int = 5
    short_name = "shift"

    @property
    def fuses(self):
        return False

    def matrix(self, frame, params):
        by = -self.by if "wrong matrix" in BROKEN else self.by
        return np.array([[1.0, 0.0, by], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])

    def kernel(self, src, params, out):
        out[:] = 0
        out[:, self.by :] = src[:, : max(0, src.shape[1] - self.by)]
'''
TESTS = """
from house_of_waves import Shift, Wave
from kaleidoscope.testing import OpTests


class TestWave(OpTests):
    instances = (Wave(), Wave(most=3))


class TestShift(OpTests):
    instances = (Shift(),)
    identity = ((Shift(0), {}),)
"""
#: What is wrong, and the tests that say so.
WRONG = {
    "draws numpy": "test_draws_json_from_its_stream_alone",
    "draws elsewhere": "test_draws_json_from_its_stream_alone",
    "another frame": "test_fills_all_of_its_frame",
    "writes into src": "test_only_reads_its_source",
    "leaves holes": "test_fills_all_of_its_frame",
    "no points": "test_keypoints_go_where_their_pixels_go",
    "wrong points": "test_keypoints_go_where_their_pixels_go",
    "wrong masks": "test_masks_go_where_their_pixels_go",
    "wrong matrix": "test_keypoints_go_where_their_pixels_go",
}


@pytest.fixture
def house(tmp_path):
    """Install a package with an entry point, the way pip does it, and return a function that runs its tests."""
    (tmp_path / "house_of_waves.py").write_text(PACKAGE)
    (tmp_path / "test_waves.py").write_text(TESTS)
    info = tmp_path / "house_of_waves-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: house-of-waves\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[kaleidoscope.ops]\nWave = house_of_waves:Wave\nShift = house_of_waves:Shift\n"
    )

    def run(*broken):
        root = str(Path(__file__).parents[1])
        env = {**os.environ, "BROKEN": ",".join(broken), "PYTHONPATH": os.pathsep.join([str(tmp_path), root])}
        command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", "test_waves.py"]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    return run


def test_an_op_of_somebody_else_passes_and_is_in_the_catalogue(house):
    done = house()
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


#: Which of them show in one run: a process for each takes a second.
TOGETHER = [
    ("leaves holes", "wrong points", "wrong matrix"),
    ("writes into src", "no points"),
    ("draws numpy", "wrong masks"),
    ("draws elsewhere", "another frame"),
]


@pytest.mark.parametrize("broken", TOGETHER, ids=str)
def test_an_op_that_is_wrong_fails_where_it_is(house, broken):
    done = house(*broken)
    assert done.returncode == 1, done.stdout
    failed = {line.split("::")[2].split("[")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")}
    assert {WRONG[one] for one in broken} <= failed, done.stdout
    assert "FAILED test_waves.py::TestShift::test_fills" not in done.stdout  # only what is wrong is red


def test_each_way_to_be_wrong_is_tried():
    assert sorted(one for some in TOGETHER for one in some) == sorted(WRONG)


def test_a_suite_without_an_op_fails(tmp_path):
    (tmp_path / "test_none.py").write_text(
        "from kaleidoscope.testing import OpTests\n\n\nclass TestNone(OpTests):\n    pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_none.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "TestNone.instances: expected the op" in done.stdout


def test_recipes_are_made_of_every_op_there_is():
    made = {type(op).__name__ for op in _every_op()}
    there = {name for name in registry.builtin_names() if issubclass(registry.find_op(name), Op)}
    assert there - made == {"OneOf", "SomeOf", "Sometimes", "Apply", "Tile"}  # made of others


def test_importing_it_needs_no_extra():
    code = (
        "import sys, json\n"
        "sys.modules['pytest'] = sys.modules['hypothesis'] = None\n"
        "from kaleidoscope import testing\n"
        "try:\n    testing.recipes()\nexcept ImportError as error:\n    print(json.dumps(str(error)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'kaleidoscope[test]'" in json.loads(done.stdout)
