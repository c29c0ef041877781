"""Targets against pixels: what is labelled is drawn into the image, goes through the ops, and is looked for again.

An object is a filled polygon in a channel of its own, and a soft spot in another at its keypoint. Wherever the pixels
went, the moved polygon filled again, the moved mask, the moved box and the moved keypoint have to be, within a pixel.
"""

import itertools
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaleidoscope import ops, registry
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.coordinates import keeps_upright
from kaleidoscope.ops.base import Geometric
from kaleidoscope.ops.choose import Choice
from kaleidoscope.ops.distortion import Distortion
from kaleidoscope.ops.holes import InPlace
from kaleidoscope.plan import make_plan
from kaleidoscope.recipe import from_spec
from kaleidoscope.record import MAX_VALUE, Frame
from kaleidoscope.targets import Targets
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk

HEIGHT, WIDTH = 61, 83
#: Subpixels a side that coverage is counted in.
FINE = 8
#: At edges. One in the middle, concave; the others reach over the frame's sides as soon as anything moves.
POLYGONS = [
    [(30.5, 20), (52, 20), (52, 30.25), (41, 30.25), (41, 43.5), (30.5, 43.5)],
    [(3, 2), (23, 4.5), (20, 17), (5.5, 15)],
    [(60, 40), (80.5, 44), (79, 59), (66, 57.5), (57, 50)],
]
KEYPOINTS = [(35, 25), (12, 9), (69, 50)]  # at centres
BOX = (56, 8, 78, 22)  # of an object that is nothing but its box, in the last channel
CHANNELS = 7
SPOT = 1.8  # pixels, the spot's standard deviation


def filled(rings, width, height):
    """Return how much of each pixel lies inside of polygons at edges, 0 to 1."""
    fine = np.zeros((height * FINE, width * FINE), np.uint8)
    for ring in rings:
        points = np.rint((np.asarray(ring) * FINE - 0.5) * 256).astype(np.int32)
        cv2.fillPoly(fine, [points], 255, shift=8)
    return fine.reshape(height, FINE, width, FINE).mean(axis=(1, 3)) / 255


def corners(box):
    x1, y1, x2, y2 = box
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def spot(x, y):
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    return np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * SPOT**2))


def scene(dtype="uint8"):
    """Return pixels with everything drawn into them, and the targets that say so."""
    planes = [*(filled([polygon], WIDTH, HEIGHT) for polygon in POLYGONS), *(spot(*point) for point in KEYPOINTS)]
    planes.append(filled([corners(BOX)], WIDTH, HEIGHT))
    pixels = (np.stack(planes, axis=-1) * MAX_VALUE[dtype]).astype(dtype)
    pixels.flags.writeable = False
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, plane in enumerate(planes[:3], 1):
        mask[plane > 0.5] = 50 * number
    mask.flags.writeable = False
    targets = Targets(
        polygons=[*POLYGONS, None],
        boxes=[None, None, None, BOX],
        keypoints=[*([point] for point in KEYPOINTS), None],
        ids=[0, 1, 2, 6],
        masks={"class": mask},
    )
    return pixels, targets


def deviation(area, again, rings):
    """Return how far from the outline of polygons a pixel lies that only one of two areas has; 0 if there is none."""
    down, across = np.nonzero(area != again)
    if not len(down):
        return 0.0
    points = np.stack([across, down], axis=1) + 0.5
    nearest = np.full(len(points), np.inf)
    for ring in rings:
        for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            along = end - start
            share = np.clip((points - start) @ along / max(along @ along, 1e-12), 0, 1)
            nearest = np.minimum(nearest, np.linalg.norm(points - (start + share[:, None] * along), axis=1))
    return float(nearest.max())


def bounds_of(area):
    """Return the box around the pixels of an area, at edges."""
    columns, rows = np.flatnonzero(area.any(axis=0)), np.flatnonzero(area.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def too_small(box, area):
    """Return by how much pixels that an object covers by half lie outside of its box."""
    x1, y1, x2, y2 = bounds_of(area > 0.5) if (area > 0.5).any() else box
    return max(box[0] - x1, box[1] - y1, x2 - box[2], y2 - box[3])


def too_large(box, area):
    """Return how far inside of its box the last pixels lie that an object touches at all."""
    x1, y1, x2, y2 = bounds_of(area > 0.02)
    return max(x1 - box[0], y1 - box[1], box[2] - x2, box[3] - y2)


def steps_of(outcome, frame):
    """Yield the ops that were applied, those that were drawn among them, with params and frame."""
    for step in outcome.lineage:
        for op, params in drawn(from_spec(step.op), step.params):
            yield op, params, frame
            frame = op.out_frame(frame, params)


def drawn(op, params):
    if isinstance(op, Choice):
        for one, its_params in op.steps(params):
            yield from drawn(one, its_params)
    else:
        yield op, params


def carried(applied, points):
    """Return where points at pixel centres go, clipped by nothing."""
    for op, params, frame in applied:
        points = op.move_points(points, frame, params)
    return points


def growth_at(applied, point):
    """Return how many pixels one at a point becomes: exactly by matrices, between neighbours by anything else."""
    x, y = point
    here, right, below = carried(applied, np.array([(x, y), (x + 0.5, y), (x, y + 0.5)], dtype=float))
    return abs(np.linalg.det([right - here, below - here])) / 0.25


def stretch(applied):
    """Return how long a pixel becomes at most, and at least 1."""
    down, across = np.mgrid[0:HEIGHT:4, 0:WIDTH:4]
    at = np.stack([across.ravel(), down.ravel()], axis=1).astype(float)
    here, right, below = (carried(applied, at + step) for step in ((0, 0), (0.5, 0), (0, 0.5)))
    jacobians = np.stack([right - here, below - here], axis=-1) / 0.5
    return max(1, np.linalg.norm(jacobians, 2, axis=(1, 2)).max()) if smooth(applied) else 1


def smooth(applied):
    return not any(isinstance(op, ops.RandomGridShuffle) for op, _, _ in applied)


def area_of(applied, polygon):
    """Return how large a polygon becomes, in pixels, its sides bent if they get bent."""
    if not smooth(applied):
        return cv2.contourArea(np.float32(polygon))
    sides = zip(np.array(polygon), np.roll(polygon, -1, axis=0), strict=True)
    fine = np.concatenate([start + np.linspace(0, 1, 20)[:-1, None] * (end - start) for start, end in sides])
    return cv2.contourArea(np.float32(carried(applied, fine - 0.5)))


#: The largest deviations seen, in pixels, by what was compared.
MEASURED = Counter()


def measure(what, value, limit):
    MEASURED[what] = max(MEASURED[what], value)
    assert value <= limit, f"{what}: {value:.2f} pixels off"


def check(outcome, targets, dtype, *, slack=1.0, mask_slack=None, reflected=False):
    """Compare an outcome's targets with its pixels: `slack` pixels of the source at most, `mask_slack` for masks."""
    assert outcome.error is None
    height, width, _ = outcome.pixels.shape
    seen = outcome.pixels / MAX_VALUE[dtype]
    applied = list(steps_of(outcome, Frame(HEIGHT, WIDTH, CHANNELS, dtype)))
    growths = [growth_at(applied, point) for point in KEYPOINTS]
    if all(
        getattr(op, "resampling", None) is None and not isinstance(op, Distortion) for op, _, _ in applied
    ):  # pixels are copied: what is left is where 0.5 of one is
        slack = 0.51
    enlarged = stretch(applied)
    mask_slack = max(slack, mask_slack or 0) * enlarged
    slack *= enlarged
    moved = outcome.targets
    mask = moved.masks["class"]
    assert mask.shape == (height, width)
    assert set(np.unique(mask)) <= {0, 50, 100, 150}
    rows = dict(zip(moved.ids, range(len(moved)), strict=True))
    for number, polygon in enumerate(POLYGONS):
        area = seen[..., number]
        whole = area_of(applied, polygon)
        if number not in rows:
            assert area.sum() <= 0.02 * whole + 2
            continue
        i = rows[number]
        again = filled(moved.polygons[i], width, height)
        near = cv2.dilate(np.uint8(area > 0.5), np.ones((3, 3), np.uint8)) > 0
        if reflected:  # the border holds mirror images: pixels that are no object's
            assert not ((again > 0.5) & ~near).any()
            continue
        measure("polygon", deviation(area > 0.5, again > 0.5, moved.polygons[i]), slack)
        measure("mask", deviation(mask == 50 * (number + 1), again > 0.5, moved.polygons[i]), mask_slack)
        outline = 0.2 * sum(cv2.arcLength(np.float32(ring), closed=True) for ring in moved.polygons[i]) + 2
        assert abs(area.sum() - again.sum()) <= outline
        assert abs(moved.visible[i] * whole - area.sum()) <= outline + 0.02 * whole
        if again.sum() > 6:
            measure("box too small", too_small(moved.boxes[i], area), slack)
            measure("box too large", too_large(moved.boxes[i], area), slack)
    check_keypoints(moved, rows, seen, growths, reflected=reflected)
    if not reflected:
        ellipse = any(getattr(op, "rotate_method", "") == "ellipse" for op, _, _ in applied)
        check_box(moved, rows, seen[..., 6], applied, slack, ellipse=ellipse)
    lost = sum(step.targets.get("dropped", 0) for step in outcome.lineage)
    cut = sum(step.targets.get("clipped", 0) for step in outcome.lineage)
    assert lost == len(targets) - len(moved)
    assert cut >= np.count_nonzero(moved.visible < 1)
    assert all(step.text.count("targets") == bool(step.targets) for step in outcome.lineage)


def check_keypoints(moved, rows, seen, growths, *, reflected):
    height, width, _ = seen.shape
    down, across = np.mgrid[:height, :width]
    for number in range(len(KEYPOINTS)):
        if number not in rows:
            continue
        ((x, y, visibility),) = moved.keypoints[rows[number]]
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            assert visibility == 0
        if not visibility:
            continue
        spots = seen[..., 3 + number]
        if reflected:
            assert spots[round(np.clip(y, 0, height - 1)), round(np.clip(x, 0, width - 1))] > 0.6
        elif spots.sum() > 0.97 * 2 * np.pi * SPOT**2 * growths[number]:  # else a part of it is cut off
            middle = np.array([(across * spots).sum(), (down * spots).sum()]) / spots.sum()
            measure("keypoint", np.abs(middle - (x, y)).max(), 1.0)


def check_box(moved, rows, area, applied, slack, *, ellipse):
    """Compare the object that has nothing but a box: exactly while its sides stay upright; else it is the bounds."""
    upright = all(
        isinstance(op, Geometric) and keeps_upright(op.matrix(frame, params)) for op, params, frame in applied
    )
    if 6 not in rows:
        assert area.sum() <= 3
    elif (area > 0.5).any():
        box = moved.boxes[rows[6]]
        if not ellipse:  # a turned box holds what was turned
            measure("box alone too small", too_small(box, area), slack)
        if upright:
            measure("box alone too large", too_large(box, area), slack - 0.5)


def rendered(recipe, dtype="uint8", seed=0, key="a.jpg", **how):
    """Walk a scene down a recipe, and check every variant."""
    pixels, targets = scene(dtype)
    said = targets.digest()
    for outcome in walk(make_plan(grow(recipe)), pixels, key=key, seed=seed, backend=Cv2Backend(), targets=targets):
        check(outcome, targets, dtype, **how)
    assert targets.digest() == said


SHEARED = ops.Affine(scale=(0.7, 1.2), translate_px=(-6, 6), rotate=(-180, 180), shear=(-15, 15))
EVERY = [
    ops.HorizontalFlip(),
    ops.VerticalFlip(),
    ops.Transpose(),
    ops.RandomRotate90(),
    ops.Rotate(20),
    ops.Rotate((90, 90)),
    ops.Rotate((180, 180)),
    ops.Rotate(180, interpolation="nearest"),
    ops.Rotate(60, interpolation="cubic", fill=0.0, fill_mask=0.0),
    ops.Rotate(40, crop_border=True),
    ops.Rotate(90, rotate_method="ellipse"),
    SHEARED,
    ops.Affine(scale={"x": (0.6, 1.5), "y": (0.7, 1.3)}, interpolation="lanczos4"),
    ops.Affine(rotate=(-180, 180), shear=(-20, 20), fit_output=True),
    ops.Affine(translate_percent={"x": (-0.4, 0.4), "y": (-0.4, 0.4)}),
    ops.Affine(scale=(0.6, 1.6), keep_ratio=True, balanced_scale=True, translate_px=(-30, 30)),
    *(ops.Resize(97, 131, interpolation=name) for name in ("nearest", "linear", "cubic", "area", "lanczos4")),
    *(ops.Resize(44, 50, interpolation=name) for name in ("nearest", "linear", "area")),
    ops.Resize(35, 140, area_for_downscale="image"),
    ops.LongestMaxSize(120),
    ops.LongestMaxSize([60, 70], interpolation="nearest"),
    ops.SmallestMaxSize(50, area_for_downscale="image"),
    ops.SmallestMaxSize(max_size_hw=(70, 110)),
    ops.RandomScale(0.4),
    ops.RandomResizedCrop((50, 60), scale=(0.3, 0.9)),
    ops.RandomResizedCrop((90, 110), scale=(0.2, 0.5), ratio=(0.5, 2), interpolation="cubic"),
    ops.RandomSizedCrop((30, 50), (48, 60), w2h_ratio=1.25),
    ops.Crop(10, 5, 60, 50),
    ops.Crop(20, 0, 95, 70, pad_if_needed=True, pad_position="random"),
    ops.PadIfNeeded(70, 60, position="random"),
    ops.PadIfNeeded(None, None, 32, 50),
    ops.CropAndPad(percent=(-0.2, 0.2)),
    ops.CropAndPad(px=(-9, 12), keep_size=False),
    ops.CropAndPad(px=((-9, 0), -7, (0, 20), 11), interpolation="cubic"),
    ops.BBoxSafeRandomCrop(),
    ops.BBoxSafeRandomCrop(0.5),
    ops.CropNonEmptyMaskIfExists(35, 40),
    ops.CenterCrop(41, 50),
    ops.CenterCrop(20, 33),
    ops.CenterCrop(80, 50, pad_if_needed=True),
    ops.CenterCrop(70, 101, pad_if_needed=True, pad_position="bottom_right"),
    ops.RandomCrop(35, 40),
    ops.RandomCrop(77, 55, pad_if_needed=True, pad_position="random"),
    ops.Pad((3, 5, 11, 2)),
    *(ops.Tile(row, col, 2, 3) for row in range(2) for col in range(3)),
    ops.Split(2, 2),
    ops.D4(),
    ops.ShiftScaleRotate(0.2, 0.3, 180),
    ops.SafeRotate(180),
    ops.Perspective((0.05, 0.15)),
    ops.Perspective((0.05, 0.15), fit_output=True),
    ops.Perspective((0.05, 0.15), fit_output=True, keep_size=False),
    ops.Perspective((0.05, 0.15), keep_size=False),
    ops.ElasticTransform(alpha=150, sigma=8),
    ops.GridDistortion(),
    ops.GridDistortion(4, 0.3, normalized=False),
    ops.OpticalDistortion(0.4),
    ops.OpticalDistortion(0.4, mode="fisheye"),
    ops.ThinPlateSpline(),
    ops.RandomGridShuffle((2, 3)),
]
BORDERS = ["replicate", "reflect", "wrap", "reflect_101"]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("op", EVERY, ids=repr)
def test_targets_are_where_the_pixels_are(op, dtype):
    for seed in range(4):
        rendered(op, dtype, seed)


@pytest.mark.parametrize("mode", BORDERS)
@pytest.mark.parametrize(
    "make",
    [
        lambda mode: ops.Rotate(80, border_mode=mode),
        lambda mode: ops.Affine(scale=(0.5, 0.9), rotate=30, translate_px=(-20, 20), border_mode=mode),
        lambda mode: ops.Pad((9, 20, 31, 2), border_mode=mode),
        lambda mode: ops.RandomCrop(75, 101, pad_if_needed=True, pad_position="random", border_mode=mode),
    ],
)
def test_a_border_that_repeats_the_image_repeats_no_object(make, mode):
    for seed in range(4):
        pixels, targets = scene()
        (outcome,) = walk(
            make_plan(grow(make(mode))), pixels, key="a.jpg", seed=seed, backend=Cv2Backend(), targets=targets
        )
        check(outcome, targets, "uint8", reflected=True)
        assert len(set(outcome.targets.ids)) == len(outcome.targets)


#: What triples are made of: each way in which pixels are moved.
KINDS = [
    ops.HorizontalFlip(),
    ops.Transpose(),
    ops.RandomRotate90(),
    ops.Rotate(35),
    ops.Rotate((90, 90)),
    ops.Rotate(30, crop_border=True),
    SHEARED,
    ops.Affine(rotate=(-90, 90), fit_output=True),
    ops.Resize(70, 62),
    ops.CenterCrop(45, 58, pad_if_needed=True),
    ops.RandomCrop(50, 44, pad_if_needed=True, pad_position="random"),
    ops.Pad((4, 0, 7, 9)),
    ops.Tile(0, 1, 1, 2),
    ops.GaussianBlur(sigma_limit=0.6),
]
_ALL = list(itertools.permutations(range(len(KINDS)), 3))
TRIPLES = [_ALL[i] for i in np.random.default_rng(3).permutation(len(_ALL))[:60]]
#: Pixels at the outline that a mask may be off after three resamplings to the nearest: half of one each, and a corner's
#: own. Everything else stays within one.
THREE = 2.3


def moving(parts):
    return ops.Sequential(*(part for part in parts if isinstance(part, Geometric)))


@pytest.mark.parametrize("triple", TRIPLES, ids=str)
def test_three_in_a_row_leave_them_there(triple):
    rendered(moving(KINDS[i] for i in triple), seed=sum(triple), mask_slack=THREE)


@pytest.mark.parametrize(
    "parts",
    [
        [ops.HorizontalFlip(), ops.Perspective(), ops.Rotate(20)],
        [ops.Perspective(), ops.Perspective(), ops.VerticalFlip()],
        [ops.Perspective(keep_size=False), ops.Transpose(), ops.Perspective(fit_output=True)],
        [ops.GridDistortion(), ops.Perspective(), ops.CenterCrop(50, 60)],
        [ops.D4(), ops.RandomGridShuffle((2, 2))],
        [ops.SafeRotate(), ops.ElasticTransform(alpha=60, sigma=8)],
    ],
    ids=str,
)
def test_so_do_tilts_and_distortions(parts):
    for seed in range(4):
        rendered(ops.Sequential(*parts), seed=seed, mask_slack=THREE)


SOME = st.lists(st.sampled_from(KINDS[:-1]), min_size=1, max_size=3)


@given(SOME, st.integers(0, 2**32), st.sampled_from(["uint8", "float32"]))
@settings(max_examples=60)
def test_so_do_any_others(parts, seed, dtype):
    rendered(ops.Sequential(*parts), dtype, seed, mask_slack=THREE)


@given(SOME, SOME, st.integers(0, 2**32))
@settings(max_examples=40)
def test_and_those_that_were_drawn(first, second, seed):
    one, other = ops.Sequential(*first[:2]), second[0]
    for choice in (ops.OneOf(one, other), ops.SomeOf(one, other, n=(0, 2)), ops.Sometimes(one)):
        rendered(choice, seed=seed, mask_slack=THREE)
    rendered(ops.Sequential(ops.Sometimes(other), ops.OneOf(one, ops.Sometimes(other))), seed=seed, mask_slack=THREE)


def test_every_geometric_op_is_rendered():
    there = {type(op) for op in EVERY} | {ops.Tile}
    catalogue = {registry.find_op(name) for name in registry.op_names()}
    moving = {kind for kind in catalogue if issubclass(kind, Geometric | Distortion) and not issubclass(kind, InPlace)}
    assert moving <= there


@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0, 90.0, 133.0])
def test_a_box_alone_becomes_the_bounds_of_itself_or_of_the_ellipse_inside(angle):
    (x1, y1, x2, y2), turn = BOX, ops.Affine(rotate=angle, fit_output=True)
    around = np.linspace(0, 2 * np.pi, 100)
    ellipse = np.stack([(x1 + x2 + (x2 - x1) * np.cos(around)) / 2, (y1 + y2 + (y2 - y1) * np.sin(around)) / 2], axis=1)
    for method, outline in (("largest_box", corners(BOX)), ("ellipse", ellipse)):
        pixels = np.float32(filled([outline], WIDTH, HEIGHT))[..., None]
        op = ops.Affine(**turn.settings(), rotate_method=method)
        (outcome,) = walk(
            make_plan(grow(op)), pixels, key="", seed=0, backend=Cv2Backend(), targets=Targets(boxes=[BOX])
        )
        box, area = outcome.targets.boxes[0], outcome.pixels[..., 0]
        measure("turned box too small", too_small(box, area), 1.0)
        measure("turned box too large", too_large(box, area), 1.0)


def test_what_a_second_turn_brings_back_was_never_lost():
    there, back = ops.Rotate((45, 45)), ops.Rotate((-45, -45))
    pixels, targets = scene()
    (outcome,) = walk(
        make_plan(grow(ops.Sequential(there, back))), pixels, key="", seed=0, backend=Cv2Backend(), targets=targets
    )
    check(outcome, targets, "uint8")
    assert len(outcome.targets) == 4
    assert outcome.targets.visible.tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(outcome.targets.boxes, targets.boxes, atol=1e-6)
    (once,) = walk(make_plan(grow(there)), pixels, key="", seed=0, backend=Cv2Backend(), targets=targets)
    assert (once.targets.visible < 1).any() or len(once.targets) < 4
