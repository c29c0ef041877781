"""Each op against Albumentations' transform of its name: the same draws make the same pixels, labels and masks.

The peer runs in a process and an environment of its own, which has another OpenCV distribution than ours. ``cases/``
holds the table: for each op rows with

given
    Settings of both.
theirs
    Settings of theirs only.
forced
    What theirs draws instead of what it would; ``{"array": [...]}`` is an array.
drawn
    What ours is told to have drawn: params, or a function of what theirs drew and of the frame. Without it ours draws
    for itself: the settings leave nothing to chance.
dtypes
    ``uint8`` alone if nothing is said.
by
    ``statistics``: the mean and the spread of what is added is compared, not the pixels, which are chance.
image, seed
    ``photograph``, ``smooth`` (where half a pixel more or less is little), or ``grey``; and 7: what theirs starts with.
mean, share, within
    Bounds: levels of difference on average, and the share of the values that are within so many levels.
spread
    Bound of how much wider, or less wide, what is added is spread, as a share; of ``statistics``.
pixels
    Bound of boxes and keypoints.
boxes
    False: boxes are not compared.
mask
    Bound: the share of the mask's pixels that are equal; all of them if nothing is said.
converted
    What `ops.from_albumentations` makes other than in `given`, of what ``to_dict`` says.
"""

import importlib.util
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kaleidoscope import ops, registry, samples
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.follow import follow
from kaleidoscope.backends.moves import moves_of
from kaleidoscope.errors import RecipeError
from kaleidoscope.record import Frame
from kaleidoscope.targets import Targets

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: Of transforms whose defaults are others than ours, the settings that they are converted to.
DEFAULTS_THAT_DIFFER = {
    "FromFloat": {"max_value": 255.0},
    "PlanckianJitter": {"temperature_limit": (3000.0, 15000.0)},
    "ShiftScaleRotate": {"shift_limit_x": (-0.0625, 0.0625), "shift_limit_y": (-0.0625, 0.0625)},
}
#: The share of a mask's pixels, at most, that lie midway between two of the source's, or all but: another version of
#: OpenCV takes the other one.
TIES = 0.01
#: Settings that a mask is filled with, where an image has holes or ends.
FILLS = ("fill_mask", "mask_drop_value")
#: What `make test` and `python tests/benchmarks/compare.py --install` make.
ENVIRONMENTS = (".venv-differential", ".venv-bench/ops", ".venv-bench/albumentations")
NAME = "KALEIDOSCOPE_ALBUMENTATIONS"
HEIGHT, WIDTH = 96, 128
BOXES = ((10.0, 12.0, 50.0, 40.0), (60.0, 30.0, 120.0, 90.0), (40.0, 44.0, 71.0, 60.0))
KEYPOINTS = ((20.0, 20.0), (64.0, 48.0), (100.0, 70.0), (50.0, 10.0))


@dataclass(frozen=True)
class Case:
    op: str
    number: int
    dtype: str
    given: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)
    forced: Mapping[str, Any] = field(default_factory=dict)
    drawn: Mapping[str, Any] | Callable | None = None
    seed: int = 7
    image: str = "photograph"
    by: str = "pixels"
    mean: float = 1.0
    share: float = 0.995
    within: float = 2.0
    spread: float = 0.03
    pixels: float = 0.5
    boxes: bool = True
    mask: float = 1.0
    converted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self):
        return f"{self.op}-{self.number}-{self.dtype}"


def table():
    """Return the cases of all tables."""
    found = []
    for path in sorted((HERE / "cases").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"differential_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, rows in module.CASES.items():
            for number, row in enumerate(rows):
                rest = dict(row)
                found += [Case(name, number, dtype, **rest) for dtype in rest.pop("dtypes", ("uint8",))]
    return found


CASES = table()
each_case = pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])


def their_python():
    """Return the Python that has Albumentations, or skip."""
    if NAME in os.environ:
        return Path(os.environ[NAME])  # that it is not there is then an error
    for folder in ENVIRONMENTS:
        if (python := ROOT / folder / "bin" / "python").exists():
            return python
    pytest.skip(
        "no environment with Albumentations 2.0.8: `make .venv-differential/installed` makes one, or name its Python "
        f"in {NAME}"
    )


def scene():
    """Return a photograph in colour, without its details and in grey, boxes, keypoints and a mask."""
    photograph = cv2.imread(str(samples.folder() / "astronaut.jpg"))[..., ::-1]
    photograph = cv2.resize(photograph, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    smooth = cv2.GaussianBlur(photograph, (0, 0), 4)
    return {
        "photograph": photograph,
        "smooth": smooth,
        "grey": grey,
        "boxes": np.array(BOXES),
        "keypoints": np.array(KEYPOINTS),
        "mask": classes(),
    }


def classes():
    """Return a mask of classes, none with an edge along the image's: some touch it, some touch each other."""
    made = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(made, (44, 40), (36, 19), 25, 0, 360, 1, cv2.FILLED)
    cv2.fillPoly(made, [np.array([(70, 20), (127, 5), (118, 80), (88, 61)])], 2)
    cv2.circle(made, (100, 52), 11, 3, cv2.FILLED)
    cv2.fillPoly(made, [np.array([(0, 95), (9, 62), (57, 95)])], 200)
    return made


@pytest.fixture(scope="session")
def theirs(tmp_path_factory):
    """Return what Albumentations made of every case, by id, what it says of its transforms, and `TIES` or none."""
    python, folder = their_python(), tmp_path_factory.mktemp("differential")
    asked = [{**asdict(case), "drawn": None, "settings": {**case.given, **case.theirs}} for case in CASES]
    (folder / "cases.json").write_text(json.dumps(asked), "utf-8")
    np.savez(folder / "scene.npz", **scene())
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-W", "ignore", HERE / "peer.py", folder]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / "made.json").read_text("utf-8"))
    with np.load(folder / "made.npz") as archive:
        arrays = dict(archive)
    made = [Made(one, number, arrays) for number, one in enumerate(told["cases"])]
    ties = 0.0 if told["opencv"] == cv2.__version__ else TIES
    return dict(zip((case.id for case in CASES), made, strict=True)), told["defaults"], ties


class Made:
    """What Albumentations made of one case."""

    def __init__(self, told, number, arrays):
        self.spec, self.error = told["spec"], told["error"]
        self._told, self._number, self._arrays = told, number, arrays

    def __getitem__(self, name):
        return self._arrays[f"{self._number}.{name}"]

    @property
    def drawn(self):
        return self._resolved(self._told["drawn"])

    def _resolved(self, value):
        if isinstance(value, list):
            return list(map(self._resolved, value))
        if isinstance(value, dict):
            return self[value["array"]] if set(value) == {"array"} else {k: self._resolved(v) for k, v in value.items()}
        return value


def ours(case, drawn):
    """Return the image that Kaleidoscope makes of a case, the boxes and keypoints left, by number, and the mask."""
    op = getattr(ops, case.op)(**case.given)
    pixels = scene()[case.image]
    if case.dtype == "float32":
        pixels = (pixels / 255).astype(np.float32)
    frame = Frame.of(pixels)
    params = case.drawn(drawn, frame) if callable(case.drawn) else case.drawn
    if params is None:
        params = op.sample_params(np.random.default_rng(0), frame)
    moves = list(moves_of(op, params, frame))
    boxes, _ = follow(Targets(boxes=BOXES, ids=range(len(BOXES)), masks={"mask": classes()}), moves)
    points, _ = follow(Targets(keypoints=[[point] for point in KEYPOINTS], ids=range(len(KEYPOINTS))), moves)
    return (
        Cv2Backend().apply(pixels, moves),
        dict(zip(boxes.ids, boxes.boxes, strict=True)),
        {name: at[0, :2] for name, at in zip(points.ids, points.keypoints, strict=True)},
        boxes.masks["mask"],
    )


@each_case
def test_pixels_boxes_keypoints_and_masks_are_theirs(case, theirs):
    made = theirs[0][case.id]
    assert not made.error
    image, boxes, keypoints, mask = ours(case, made.drawn)
    expected = made["image"].reshape(image.shape)
    # Theirs returns float64 where its own NumPy code made the pixels.
    assert expected.dtype == image.dtype or (expected.dtype == np.float64 and image.dtype == np.float32)
    if case.by == "statistics":
        compare_statistics(case, image, expected)
    else:
        compare_pixels(case, image, expected)
    if case.boxes:
        compare_boxes(case, boxes, by_number(made["labels"], made["boxes"]))
    compare_keypoints(case, keypoints, by_number(made["names"], made["keypoints"]), image.shape)
    compare_masks(case, mask, made["mask"], ties=theirs[2])


def by_number(numbers, values):
    """Return all values of each number: theirs has one more for each mirror image at a border, ours never."""
    found = {}
    for number, value in zip(numbers.tolist(), values, strict=True):
        found.setdefault(number, []).append(value)
    return found


def nearest(value, several):
    return min(np.abs(value - one).max() for one in several)


def levels(image):
    return image.astype(float) * (255 if image.dtype.kind == "f" else 1)


def compare_pixels(case, image, expected):
    difference = np.abs(levels(image) - levels(expected))
    share = np.mean(difference <= case.within)
    said = (
        f"{difference.mean():.2f} levels on average, {share:.2%} within {case.within}, {difference.max():.0f} at most"
    )
    assert difference.mean() <= case.mean, said
    assert share >= case.share, said


def compare_statistics(case, image, expected):
    before = levels(scene()[case.image])
    mine, other = levels(image) - before, levels(expected) - before
    assert abs(mine.mean() - other.mean()) <= case.mean
    assert abs(mine.std() / other.std() - 1) <= case.spread
    for a, b in ((0, 1), (1, 2)):  # whether channels share their noise
        together = [np.corrcoef(one[..., a].ravel(), one[..., b].ravel())[0, 1] for one in (mine, other)]
        assert abs(together[0] - together[1]) <= 0.05


def compare_boxes(case, mine, other):
    for name in {*mine, *other}:
        if name not in mine or name not in other:
            left = mine[name] if name in mine else other[name][0]
            assert min(left[2:] - left[:2]) <= 2 * case.pixels, f"box {name} is in one only: {left}"
        else:
            assert nearest(mine[name], other[name]) <= case.pixels, (name, mine[name], other[name])


def compare_keypoints(case, mine, other, shape):
    """Ours are dropped outside of the frame, theirs are not."""
    inside = {
        name
        for name, [at, *mirrored] in other.items()
        if not mirrored and (at >= case.pixels).all() and (at <= np.array(shape[1::-1]) - 1 - case.pixels).all()
    }
    assert inside <= set(mine)
    for name, at in mine.items():
        assert nearest(at, other[name]) <= case.pixels, (name, at, other[name])


def compare_masks(case, mine, other, *, ties=0.0):
    assert mine.shape == other.shape
    share = np.mean(mine == other)
    assert share >= case.mask - ties, f"{share:.2%} of the mask is equal"


@pytest.mark.parametrize("case", [case for case in CASES if not case.theirs], ids=lambda case: case.id)
def test_settings_are_converted(case, theirs):
    made = ops.from_albumentations(theirs[0][case.id].spec)
    assert alike(made, getattr(ops, case.op)(**{**case.given, **case.converted}))


def alike(made, expected):
    """Return whether two ops are equal, but for the last bits: theirs has 1 + x where ours has x."""

    def close(one, other):
        if isinstance(one, tuple) and isinstance(other, tuple):
            return len(one) == len(other) and all(map(close, one, other))
        return abs(one - other) < 1e-12 if isinstance(one, float) and isinstance(other, float) else one == other

    names = [each.name for each in fields(expected)]
    return type(made) is type(expected) and all(close(getattr(made, n), getattr(expected, n)) for n in names)


def test_defaults_are_converted_and_are_ours(theirs):
    same, other = {}, {}
    for name, spec in theirs[1].items():
        if spec is None:
            continue
        if name == "NoOp":
            assert ops.from_albumentations(spec) == ops.Sequential()
            continue
        if name not in registry.op_names():
            with pytest.raises(RecipeError, match=f"there is no op for {name}"):
                ops.from_albumentations(spec)
            continue
        made, ours = ops.from_albumentations(spec), getattr(ops, name)()
        (same if alike(made, ours) else other)[name] = made
    assert len(same) >= 10
    assert set(other) <= set(DEFAULTS_THAT_DIFFER)
    assert all(alike(made, getattr(ops, name)(**DEFAULTS_THAT_DIFFER[name])) for name, made in other.items())


def test_every_op_that_both_have_is_compared(theirs):
    both = {name for name in theirs[1] if name in registry.op_names()}
    assert both <= {case.op for case in CASES}


def test_every_op_that_fills_masks_fills_one(theirs):
    can = {case.op for case in CASES for name in FILLS if hasattr(getattr(ops, case.op), name)}
    filled = {case.id: np.setdiff1d(theirs[0][case.id]["mask"], classes()) for case in CASES}
    assert {case.op for case in CASES for name in FILLS if case.given.get(name) in filled[case.id]} == can


def test_comparison_notices_what_is_off():
    image = scene()["photograph"]
    case = Case("", 0, "uint8")
    compare_pixels(case, image, image)
    with pytest.raises(AssertionError, match="levels on average"):
        compare_pixels(case, image, np.roll(image, 1, axis=1))
    with pytest.raises(AssertionError):
        compare_boxes(case, {0: np.array(BOXES[0])}, {0: [np.array(BOXES[0]) + 1]})
    with pytest.raises(AssertionError):
        compare_keypoints(case, {0: np.array(KEYPOINTS[0])}, {0: [np.array(KEYPOINTS[0]) + 1]}, image.shape)
    with pytest.raises(AssertionError):
        compare_keypoints(case, {}, {0: [np.array(KEYPOINTS[0])]}, image.shape)
    compare_masks(case, classes(), classes())
    with pytest.raises(AssertionError, match="of the mask"):
        compare_masks(case, classes(), np.roll(classes(), 1, axis=0))
