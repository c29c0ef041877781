"""Sizes that follow from the image's: its longest side, its shortest, a factor."""

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.record import Frame


def draw(op, height, width, n=1):
    rng, frame = np.random.default_rng(0), Frame(height, width, 3, "uint8")
    drawn = [op.sample_params(rng, frame) for _ in range(n)]
    assert all(op.out_frame(frame, d) == Frame(d["height"], d["width"], 3, "uint8") for d in drawn)
    return [(d["height"], d["width"]) for d in drawn]


@pytest.mark.parametrize(
    ("op", "size", "wanted"),
    [
        (ops.LongestMaxSize(256), (480, 640), (192, 256)),
        (ops.LongestMaxSize(256), (640, 480), (256, 192)),
        (ops.LongestMaxSize(640), (480, 640), (480, 640)),
        (ops.LongestMaxSize(1280), (480, 640), (960, 1280)),
        (ops.LongestMaxSize(10), (1, 1000), (1, 10)),
        (ops.LongestMaxSize(7), (3, 11), (2, 7)),  # 1.91 is rounded
        (ops.LongestMaxSize(max_size_hw=(100, 300)), (480, 640), (100, 133)),
        (ops.LongestMaxSize(max_size_hw=(300, 100)), (480, 640), (75, 100)),
        (ops.LongestMaxSize(max_size_hw=(240, None)), (480, 640), (240, 320)),
        (ops.LongestMaxSize(max_size_hw=(None, 320)), (480, 640), (240, 320)),
        (ops.SmallestMaxSize(240), (480, 640), (240, 320)),
        (ops.SmallestMaxSize(240), (640, 480), (320, 240)),
        (ops.SmallestMaxSize(960), (480, 640), (960, 1280)),
        (ops.SmallestMaxSize(max_size_hw=(100, 300)), (480, 640), (225, 300)),
        (ops.SmallestMaxSize(max_size_hw=(300, 100)), (480, 640), (300, 400)),
        (ops.SmallestMaxSize(max_size_hw=(None, 320)), (480, 640), (240, 320)),
        (ops.RandomScale((0.5, 0.5)), (480, 641), (720, 961)),  # 961.5 is cut
        (ops.RandomScale((-0.9, -0.9)), (3, 40), (1, 3)),
    ],
    ids=repr,
)
def test_proportions_stay(op, size, wanted):
    assert draw(op, *size) == [wanted]


@pytest.mark.parametrize(("kind", "pick"), [(ops.LongestMaxSize, max), (ops.SmallestMaxSize, min)])
def test_of_a_list_every_size_is_drawn_as_often(kind, pick):
    sizes = [pick(size) for size in draw(kind([50, 80, 110]), 480, 640, 600)]
    values, counts = np.unique(sizes, return_counts=True)
    assert values.tolist() == [50, 80, 110]
    assert counts.min() > 160  # of 200 expected


def test_scales_fill_their_range():
    heights = np.array([height for height, _ in draw(ops.RandomScale((-0.5, 1.0)), 1000, 1000, 2000)])
    assert heights.min() < 505
    assert heights.max() > 1990
    np.testing.assert_allclose(np.quantile(heights, [0.25, 0.5, 0.75]), [875, 1250, 1625], atol=60)
    assert ops.RandomScale(0.3) == ops.RandomScale((-0.3, 0.3))


EVERY = [ops.LongestMaxSize(40), ops.SmallestMaxSize(30), ops.RandomScale((-0.3, -0.2)), ops.RandomScale((0.3, 0.4))]


@pytest.mark.parametrize("area", [None, "image", "image_mask"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("op", EVERY, ids=repr)
def test_pixels_and_masks_are_those_of_resize(make_pixels, run, op, dtype, area):
    op = type(op)(**op.settings() | {"area_for_downscale": area, "interpolation": "cubic"})
    src = make_pixels((45, 61, 7), dtype)
    params = op.sample_params(np.random.default_rng(1), Frame.of(src))
    same = ops.Resize(**params, interpolation="cubic", area_for_downscale=area)
    np.testing.assert_array_equal(run(op, src, params), run(same, src, {}))
    np.testing.assert_array_equal(run(op.for_masks(), src, params), run(same.for_masks(), src, {}))
    np.testing.assert_array_equal(op.matrix(Frame.of(src), params), same.matrix(Frame.of(src), {}))
    assert not op.fuses
    assert op.has_kernel


@pytest.mark.parametrize(
    ("op", "reduction"),
    [
        (ops.LongestMaxSize(100, area_for_downscale="image"), 5),
        (ops.LongestMaxSize([50, 100], interpolation="area"), 5),
        (ops.LongestMaxSize(1000, area_for_downscale="image"), 1),
        (ops.LongestMaxSize(100), 1),
        (ops.SmallestMaxSize(100, area_for_downscale="image"), 2),
        (ops.SmallestMaxSize([50, 100], area_for_downscale="image_mask"), 2),
        (ops.RandomScale((-0.9, -0.6), area_for_downscale="image"), 2),
        (ops.RandomScale((-0.9, -0.4), area_for_downscale="image"), 1),
    ],
    ids=repr,
)
def test_a_jpeg_is_decoded_smaller_where_every_draw_takes_means(op, reduction):
    assert op.reduction(Frame(600, 1000, 3, "uint8")) == reduction


def test_of_a_reduced_source_comes_the_same_frame(make_pixels):
    op, frame = ops.LongestMaxSize(20, area_for_downscale="image"), Frame(100, 160, 3, "uint8")
    params = op.sample_params(np.random.default_rng(0), frame)
    whole = np.repeat(np.repeat(make_pixels((25, 40, 3)), 4, axis=0), 4, axis=1)
    outs = [np.empty(op.out_frame(frame, params).shape, np.uint8) for _ in range(2)]
    op.kernel(whole, params, outs[0])
    op.kernel(np.ascontiguousarray(whole[::4, ::4]), params, outs[1])
    assert np.abs(outs[0].astype(int) - outs[1]).max() <= 1


@pytest.mark.parametrize("kind", [ops.LongestMaxSize, ops.SmallestMaxSize])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"max_size=None, max_size_hw=None\): expected one of the two"),
        ({"max_size": 5, "max_size_hw": (5, 5)}, r"expected one of the two"),
        ({"max_size": 0}, r"max_size=0\): expected whole pixels, at least 1, or a list"),
        ({"max_size": []}, r"max_size=\[\]\): expected whole pixels"),
        ({"max_size": [5, 2.5]}, r"expected whole pixels"),
        ({"max_size": True}, r"expected whole pixels"),
        ({"max_size": [5, None]}, r"expected whole pixels"),
        ({"max_size_hw": 5}, r"max_size_hw=5\): expected \(height, width\) in whole pixels"),
        ({"max_size_hw": (None, None)}, r"expected \(height, width\)"),
        ({"max_size_hw": (5, -1)}, r"expected \(height, width\)"),
        ({"max_size": 5, "interpolation": "linaer"}, r"Did you mean 'linear'\?"),
        ({"max_size": 5, "area_for_downscale": True}, r"expected one of 'image', 'image_mask', got True"),
    ],
    ids=str,
)
def test_sizes_that_make_no_sense_are_refused(kind, settings, message):
    with pytest.raises(RecipeError, match=message):
        kind(**settings)


@pytest.mark.parametrize("limit", [-1, (-1, 0.5), (-2, 0.0), (0.5, 0.1), "a lot", None])
def test_scales_that_make_no_sense_are_refused(limit):
    with pytest.raises(RecipeError, match=r"RandomScale\(scale_limit=.*expected shares of the sides"):
        ops.RandomScale(limit)


def test_they_travel(check_travels):
    check_travels(ops.LongestMaxSize([30, 40], area_for_downscale="image"))
    check_travels(ops.SmallestMaxSize(max_size_hw=[None, 40], interpolation=0))
    check_travels(ops.RandomScale(0.5))
    assert repr(ops.LongestMaxSize(30.0)) == "LongestMaxSize(max_size=30)"
