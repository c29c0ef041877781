import cv2
import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.backends.follow import follow
from kaleidoscope.backends.moves import moves_of
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import MAX_VALUE, Frame
from kaleidoscope.targets import Targets

DTYPES = ["uint8", "uint16", "float32"]
HOLES = [[3, 2, 9, 7], [0, 5, 4, 12], [18, 13, 20, 15]]
SHAPE = (15, 20)


def inside(holes, shape=SHAPE):
    """Return which pixels lie in holes, by looking at each of them."""
    down, across = np.mgrid[: shape[0], : shape[1]]
    return np.any([(left <= across) & (across < x) & (top <= down) & (down < y) for left, top, x, y in holes], axis=0)


def drawn(op, frame, count, seed=0):
    rng = np.random.default_rng(seed)
    return [op.sample_params(rng, frame) for _ in range(count)]


# ---- what fills holes


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_holes_are_filled_and_nothing_else(make_pixels, run, dtype, channels):
    src = make_pixels((*SHAPE, channels), dtype)
    value = tuple(float(i) / 8 for i in range(channels)) if dtype == "float32" else tuple(range(40, 40 + channels))
    where = inside(HOLES)
    for fill in (value, value[0]):
        out = run(ops.CoarseDropout(fill=fill), src, {"holes": HOLES})
        np.testing.assert_array_equal(out, np.where(where[..., np.newaxis], np.asarray(fill, dtype), src))


def test_fills_are_rounded(make_pixels, run):
    out = run(ops.CoarseDropout(fill=(1.6, 2.4, 3)), make_pixels((*SHAPE, 3)), {"holes": HOLES})
    assert out[3, 4].tolist() == [2, 2, 3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_fills_are_uniform_over_the_range_of_the_dtype(make_pixels, run, dtype):
    src = make_pixels((200, 200, 3), dtype)
    holes = [[0, 0, 200, 150]]
    out = run(ops.CoarseDropout(fill="random"), src, {"holes": holes, "seed": 5})
    np.testing.assert_array_equal(out[150:], src[150:])
    values = out[:150].reshape(-1) / MAX_VALUE[dtype]
    assert values.min() < 0.001
    assert values.max() > 0.999
    assert values.mean() == pytest.approx(0.5, abs=5 / np.sqrt(12 * values.size))
    assert values.var() == pytest.approx(1 / 12, rel=0.03)
    again, other = (run(ops.CoarseDropout(fill="random"), src, {"holes": holes, "seed": seed}) for seed in (5, 6))
    np.testing.assert_array_equal(out, again)
    assert (out[:150] != other[:150]).mean() > 0.9


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_uniform_is_a_colour_for_each_hole(make_pixels, run, dtype):
    src = make_pixels((*SHAPE, 3), dtype)
    out = run(ops.CoarseDropout(fill="random_uniform"), src, {"holes": HOLES, "seed": 5})
    np.testing.assert_array_equal(out[~inside(HOLES)], src[~inside(HOLES)])
    colours = [np.unique(out[inside([hole])], axis=0) for hole in (HOLES[1], HOLES[2])]
    assert [len(colour) for colour in colours] == [1, 1]
    assert not np.array_equal(*colours)
    assert len(np.unique(colours[0])) == 3, "the channels are alike"


@pytest.mark.parametrize(("fill", "method"), [("inpaint_telea", cv2.INPAINT_TELEA), ("inpaint_ns", cv2.INPAINT_NS)])
def test_inpainting_is_that_of_the_whole_image(photograph, run, fill, method):
    src = np.ascontiguousarray(photograph[:120, :150])
    for holes in ([[30, 40, 55, 60]], [[0, 0, 9, 30], [140, 100, 150, 120]], [[3, 70, 4, 71]]):
        out = run(ops.CoarseDropout(fill=fill), src, {"holes": holes})
        where = inside(holes, src.shape[:2]).astype(np.uint8)
        np.testing.assert_array_equal(out, cv2.inpaint(src, where, 3, method))
        for channel in range(3):
            alone = run(ops.CoarseDropout(fill=fill), src[..., channel : channel + 1].copy(), {"holes": holes})
            np.testing.assert_array_equal(alone[..., 0], out[..., channel])


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", ["inpaint_telea", "inpaint_ns"])
def test_inpainting_continues_what_is_around(run, fill, dtype, channels):
    top = MAX_VALUE[dtype]
    ramp = np.linspace(0.2, 0.8, 40)[np.newaxis, :, np.newaxis] * np.linspace(0.5, 1, channels) * top
    src = np.broadcast_to(ramp, (30, 40, channels)).astype(dtype)
    out = run(ops.CoarseDropout(fill=fill), src, {"holes": [[15, 10, 20, 15]]})
    assert np.abs(out.astype(float) - src).max() < 0.06 * top
    assert np.array_equal(out[:10], src[:10])


@pytest.mark.parametrize("fill", ["inpaint_telea", "inpaint_ns"])
def test_a_hole_as_large_as_the_image_has_nothing_to_be_inpainted_from(make_pixels, run, fill):
    src = make_pixels((*SHAPE, 3))
    np.testing.assert_array_equal(run(ops.CoarseDropout(fill=fill), src, {"holes": [[0, 0, 20, 15]]}), src)


# ---- targets


def test_objects_under_a_hole_stay_and_masks_are_filled_where_that_is_asked_for():
    frame = Frame(*SHAPE, 3, "uint8")
    targets = Targets(
        classes=["a"],
        boxes=[[2.5, 1.0, 12.0, 9.0]],  # larger than its polygon on purpose
        polygons=[[[4, 3], [8, 3], [8, 6]]],
        keypoints=[[[5, 4], [1, 1]]],
        masks={"m": np.full(SHAPE, 5, np.uint8)},
    )
    for fill_mask in (None, 9):
        op = ops.CoarseDropout(fill=1, fill_mask=fill_mask)
        assert op.moves_pixels == (fill_mask is not None)
        moved, counts = follow(targets, moves_of(op, {"holes": HOLES}, frame))
        assert not counts
        np.testing.assert_array_equal(moved.boxes, targets.boxes)
        np.testing.assert_allclose(moved.keypoints[0], targets.keypoints[0])
        np.testing.assert_allclose(moved.polygons[0][0], targets.polygons[0][0])
        filled = 5 if fill_mask is None else fill_mask
        np.testing.assert_array_equal(moved.masks["m"], np.where(inside(HOLES), filled, 5))


def test_a_mask_that_cannot_hold_fill_mask_is_refused():
    op = ops.CoarseDropout(fill_mask=300)
    targets = Targets(masks={"m": np.zeros(SHAPE, np.uint8)})
    with pytest.raises(OpError, match=r"fill=300.0\): expected at most 255"):
        follow(targets, moves_of(op, {"holes": HOLES}, Frame(*SHAPE, 3, "uint16")))


# ---- where holes are


def test_coarse_dropout_draws_numbers_sizes_and_places_over_their_ranges():
    frame = Frame(100, 200, 3, "uint8")
    draws = drawn(ops.CoarseDropout((1, 3), (0.1, 0.2), (10, 30)), frame, 1500)
    assert {len(draw["holes"]) for draw in draws} == {1, 2, 3}
    holes = np.array([hole for draw in draws for hole in draw["holes"]])
    widths, heights = holes[:, 2] - holes[:, 0], holes[:, 3] - holes[:, 1]
    assert set(widths) == set(range(10, 31))
    assert set(heights) == set(range(10, 20))  # floor(100 * U(0.1, 0.2))
    assert holes.min() == 0
    assert holes[:, 2].max() == 200
    assert holes[:, 3].max() == 100
    assert np.corrcoef(widths, heights)[0, 1] == pytest.approx(0, abs=0.1)
    assert all(set(draw) == {"holes"} for draw in draws)
    assert set(ops.CoarseDropout(fill="random").sample_params(np.random.default_rng(), frame)) == {"holes", "seed"}


def test_lengths_are_pixels_or_fractions():
    frame = Frame(100, 200, 3, "uint8")
    for given, length in ((7, 7), (1, 1), (1.0, 200), (0.5, 100), (30.0, 30), (500, 200)):
        (draw,) = drawn(ops.CoarseDropout(1, given, given), frame, 1)
        ((left, _, right, _),) = draw["holes"]
        assert right - left == length, given


@pytest.mark.parametrize("shape", [(100, 150), (64, 64), (300, 40)])
def test_erasing_has_the_areas_and_proportions_that_it_was_given(shape):
    height, width = shape
    holes = np.array([h for draw in drawn(ops.Erasing(), Frame(*shape, 3, "uint8"), 1500) for h in draw["holes"]])
    assert holes.min() >= 0
    assert holes[:, 2].max() <= width
    assert holes[:, 3].max() <= height
    w, h = (holes[:, 2] - holes[:, 0]).astype(float), (holes[:, 3] - holes[:, 1]).astype(float)
    most = min(0.33 * height * width, 0.3 * height**2, width**2 / 3.3)
    area = w * h
    assert (area.min(), area.max()) == pytest.approx((0.02 * height * width, most), rel=0.15)
    # Rounded to whole pixels both ways.
    assert ((w + 0.5) / (h - 0.5)).min() >= 0.3
    assert ((w - 0.5) / (h + 0.5)).max() <= 3.3
    assert (w / h).min() < 0.4


def test_erasing_leaves_images_alone_in_which_no_hole_fits():
    assert all(draw == {"holes": []} for draw in drawn(ops.Erasing(), Frame(3, 300, 3, "uint8"), 20))


@pytest.mark.parametrize(
    ("fields", "cells"),
    [
        ({}, (11, 10)),  # 57 // 5, 103 // 10
        ({"ratio": 0.3, "random_offset": False, "shift_xy": (3, 1)}, (11, 10)),
        ({"holes_number_xy": (5, 3)}, (3, 5)),  # across and down: Albumentations mixes them up
        ({"unit_size_range": 11, "ratio": 1}, (5, 9)),
    ],
)
def test_grid_dropout_has_a_hole_in_each_cell(fields, cells):
    op = ops.GridDropout(**fields)
    shape = height, width = 57, 103
    (draw,) = drawn(op, Frame(height, width, 3, "uint8"), 1)
    rows, columns = draw["rows"], draw["columns"]
    assert (len(rows) - 1, len(columns) - 1) == cells
    for edges, side in ((rows, height), (columns, width)):
        assert edges[0] == 0
        assert edges[-1] == side
        assert np.ptp(np.diff(edges)) <= 1
    holes = np.array(op.holes(draw)).reshape(*cells, 4)
    for i, j in np.ndindex(cells):
        left, top, right, bottom = holes[i, j]
        h, w = rows[i + 1] - rows[i], columns[j + 1] - columns[j]
        assert bottom - top == min(max(1, int(op.ratio * h)), h - 1)
        assert right - left == min(max(1, int(op.ratio * w)), w - 1)
        if op.random_offset:
            assert rows[i] <= top <= bottom <= rows[i + 1]
            assert columns[j] <= left <= right <= columns[j + 1]
        else:
            assert (left - columns[j], top - rows[i]) == op.shift_xy
    if op.random_offset:
        assert len({(int(left) - columns[j]) for j, (left, *_) in enumerate(holes[0])}) > 1
    assert inside(holes.reshape(-1, 4), shape).any()


def test_cells_of_a_pixel_have_no_hole(make_pixels, run):
    for shape in ((1, 1, 3), (1, 40, 3)):
        src = make_pixels(shape)
        (draw,) = drawn(ops.GridDropout(), Frame.of(src), 1)
        np.testing.assert_array_equal(run(ops.GridDropout(fill=99), src, draw), src)


def test_unit_sizes_are_drawn_ends_included():
    op = ops.GridDropout(unit_size_range=(4, 6))
    counts = {len(draw["rows"]) - 1 for draw in drawn(op, Frame(60, 60, 3, "uint8"), 60)}
    assert counts == {15, 12, 10}


# ---- what is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_holes_range": 0}, r"num_holes_range=0\): expected a number of holes, at least 1"),
        ({"hole_height_range": (0.1, 7.5)}, r"expected whole pixels, or fractions of the image in \[0, 1\]"),
        ({"hole_width_range": (5, 2)}, r"hole_width_range=\(5, 2\)"),
        ({"hole_width_range": "wide"}, r"got 'wide' \(str\)"),
        ({"fill": "inpaint_tela"}, r"Did you mean 'inpaint_telea'"),
        ({"fill": -1}, r"expected a pixel value, a list with one for each channel, or a name, got -1"),
        ({"fill_mask": "black"}, r"fill_mask='black'\): expected a mask's value"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        ops.CoarseDropout(**fields)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (ops.Erasing, {"scale": 2}, r"scale=2\): expected fractions of the image's area"),
        (ops.Erasing, {"ratio": 0}, r"ratio=0\): expected width by height, above 0"),
        (ops.GridDropout, {"ratio": 0}, r"a fraction of a cell above 0"),
        (ops.GridDropout, {"random_offset": 1}, r"expected True or False"),
        (ops.GridDropout, {"unit_size_range": (1, 4)}, r"whole pixels, at least 2"),
        (ops.GridDropout, {"holes_number_xy": (0, 4)}, r"holes_number_xy=\(0, 4\)\): expected two whole numbers"),
        (ops.GridDropout, {"shift_xy": 3}, r"shift_xy=3\): expected two whole numbers, across and down, at least 0"),
    ],
)
def test_what_makes_no_sense_for_the_others_is_refused(kind, fields, message):
    with pytest.raises(RecipeError, match=message):
        kind(**fields)


def test_images_that_cannot_have_the_grid_or_the_fill_are_refused():
    with pytest.raises(OpError, match=r"expected at most a cell for two pixels, 4 across and 5 down"):
        ops.GridDropout(holes_number_xy=(5, 5)).out_frame(Frame(10, 9, 3, "uint8"), {})
    with pytest.raises(OpError, match=r"expected cells no larger than the image's shorter side"):
        ops.GridDropout(unit_size_range=(2, 10)).out_frame(Frame(10, 9, 3, "uint8"), {})
    with pytest.raises(OpError, match=r"one for each of the 1 channels"):
        ops.CoarseDropout(fill=(1, 2, 3)).out_frame(Frame(10, 9, 1, "uint8"), {})
    with pytest.raises(OpError, match=r"expected at most 1, the most of float32"):
        ops.Erasing(fill=128).out_frame(Frame(10, 9, 1, "float32"), {})


def test_dropouts_travel(check_travels):
    check_travels(ops.CoarseDropout((1, 3), (2, 9), 0.25, fill=[1, 2, 3], fill_mask=4))
    check_travels(ops.Erasing((0.1, 0.2), 2, fill="random"))
    check_travels(
        ops.GridDropout(0.25, random_offset=False, holes_number_xy=[3, 4], shift_xy=[1, 2], fill="inpaint_ns")
    )
