import math

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import Frame

FRAME = Frame(300, 400, 3, "uint8")


def draw(op, frame=FRAME, n=1000):
    rng = np.random.default_rng(0)
    drawn = [op.sample_params(rng, frame) for _ in range(n)]
    assert {type(value) for d in drawn for value in d.values()} == {int}
    for d in drawn:
        assert 0 <= d["left"] < d["left"] + d["width"] <= frame.width
        assert 0 <= d["top"] < d["top"] + d["height"] <= frame.height
    return {name: np.array([d[name] for d in drawn]) for name in drawn[0]}


BOTH = [ops.RandomResizedCrop((20, 31)), ops.RandomSizedCrop((5, 25), (20, 31), w2h_ratio=1.3)]


@pytest.mark.parametrize("settings", [{}, {"interpolation": "nearest"}, {"area_for_downscale": "image"}], ids=str)
@pytest.mark.parametrize("shape", [(45, 61, 3), (1, 1, 1), (1, 17, 4), (33, 2, 7)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("op", BOTH, ids=lambda op: type(op).__name__)
def test_it_is_a_window_resized(make_pixels, run, op, dtype, shape, settings):
    op = type(op)(**op.settings() | settings)
    src = make_pixels(shape, dtype)
    for seed in range(5):
        params = op.sample_params(np.random.default_rng(seed), Frame.of(src))
        x, y = params["left"], params["top"]
        window = src[y : y + params["height"], x : x + params["width"]].copy()
        np.testing.assert_array_equal(run(op, src, params), run(ops.Resize(20, 31, **settings), window, {}))


def test_of_the_whole_at_its_size_is_identity(make_pixels, run):
    src = make_pixels((20, 31, 3))
    whole = {"left": 0, "top": 0, "width": 31, "height": 20}
    for op in BOTH:
        np.testing.assert_array_equal(run(op, src, whole), src)


@pytest.mark.parametrize("op", BOTH, ids=lambda op: type(op).__name__)
def test_the_windows_edges_become_the_images(op):
    matrix = op.matrix(FRAME, {"left": 30, "top": 8, "width": 50, "height": 10})
    np.testing.assert_allclose(matrix @ [29.5, 7.5, 1], [-0.5, -0.5, 1])
    np.testing.assert_allclose(matrix @ [79.5, 17.5, 1], [30.5, 19.5, 1])
    assert not op.fuses
    assert op.has_kernel


def test_masks_are_nearest_or_what_was_asked_for():
    op = ops.RandomResizedCrop((20, 31), area_for_downscale="image")
    assert op.for_masks() == ops.RandomResizedCrop((20, 31), interpolation="nearest")
    both = ops.RandomSizedCrop((5, 9), (20, 31), area_for_downscale="image_mask")
    assert both.for_masks().area_for_downscale == "image"


class TestRandomResizedCrop:
    def test_areas_and_ratios_fill_their_ranges(self):
        drawn = draw(ops.RandomResizedCrop((9, 9), scale=(0.1, 0.5), ratio=(0.5, 2)))
        area, ratio = drawn["width"] * drawn["height"] / 120_000, drawn["width"] / drawn["height"]
        assert 0.099 < area.min() < 0.11
        assert 0.48 < area.max() < 0.502
        assert 0.49 < ratio.min() < 0.52
        assert 1.9 < ratio.max() < 2.02
        assert np.quantile(area, 0.5) == pytest.approx(0.3, abs=0.03)
        assert np.quantile(np.log(ratio), 0.5) == pytest.approx(0, abs=0.1)

    def test_places_are_equally_likely(self):
        drawn = draw(ops.RandomResizedCrop((9, 9), scale=(0.2, 0.9)))
        share = drawn["left"] / np.maximum(1, 400 - drawn["width"])
        np.testing.assert_allclose(np.quantile(share, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.06)
        assert {0, 1} <= set(share)

    @pytest.mark.parametrize(
        ("scale", "ratio", "wanted"),
        [
            (1, (1, 1), {"left": 50, "top": 0, "width": 300, "height": 300}),
            (1, (2, 4), {"left": 0, "top": 50, "width": 400, "height": 200}),
            (1, (0.1, 0.5), {"left": 125, "top": 0, "width": 150, "height": 300}),
            (0, (1.2, 1.5), {"left": 0, "top": 0, "width": 400, "height": 300}),
        ],
        ids=str,
    )
    def test_where_no_window_fits_the_largest_in_the_middle_is_taken(self, scale, ratio, wanted):
        drawn = draw(ops.RandomResizedCrop((9, 9), scale=scale, ratio=ratio), n=20)
        assert {name: set(values) for name, values in drawn.items()} == {n: {v} for n, v in wanted.items()}

    def test_the_smallest_images_have_windows(self):
        for height, width in ((1, 1), (1, 500), (500, 1), (2, 3)):
            for scale in ((0, 0), (0.01, 0.02), (1, 1)):
                draw(ops.RandomResizedCrop((9, 9), scale=scale), Frame(height, width, 1, "uint8"), n=50)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"size": 9}, r"size=9\): expected \(height, width\) in whole pixels, at least 1"),
            ({"size": (9, 0)}, r"expected \(height, width\)"),
            ({"size": (9, 9, 3)}, r"expected \(height, width\)"),
            ({"scale": (0.5, 1.5)}, r"scale=\(0.5, 1.5\)\): expected shares of the image's area"),
            ({"scale": (0.5, 0.1)}, r"expected shares"),
            ({"ratio": (0, 1)}, r"ratio=\(0, 1\)\): expected widths by heights, greater than 0"),
            ({"ratio": (2, 1)}, r"expected widths by heights"),
            ({"interpolation": "linaer"}, r"Did you mean 'linear'\?"),
            ({"mask_interpolation": 17}, r"expected one of"),
        ],
        ids=str,
    )
    def test_that_makes_no_sense_is_refused(self, settings, message):
        with pytest.raises(RecipeError, match=message):
            ops.RandomResizedCrop(**{"size": (9, 9)} | settings)


class TestRandomSizedCrop:
    def test_heights_fill_their_range_and_widths_follow(self):
        drawn = draw(ops.RandomSizedCrop((10, 14), (9, 9), w2h_ratio=1.5), n=2000)
        values, counts = np.unique(drawn["height"], return_counts=True)
        assert values.tolist() == [10, 11, 12, 13, 14]
        assert counts.min() > 320  # of 400 expected
        assert (drawn["width"] == [math.floor(1.5 * height) for height in drawn["height"]]).all()
        assert (drawn["left"].min(), drawn["top"].min()) == (0, 0)
        assert (drawn["left"] + drawn["width"]).max() == 400
        assert (drawn["top"] + drawn["height"]).max() == 300

    def test_sides_longer_than_the_images_are_the_images(self):
        drawn = draw(ops.RandomSizedCrop((200, 350), (9, 9), w2h_ratio=3), n=200)
        assert set(drawn["width"]) == {400}
        assert drawn["height"].max() == 300

    def test_no_window_is_empty(self):
        assert set(draw(ops.RandomSizedCrop((1, 3), (9, 9), w2h_ratio=0.1), n=20)["width"]) == {1}

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"size": "all"}, r"size='all'\): expected \(height, width\)"),
            ({"min_max_height": (0, 5)}, r"expected heights in whole pixels, at least 1"),
            ({"min_max_height": (5, 3)}, r"expected heights"),
            ({"min_max_height": (5, 7.5)}, r"expected heights"),
            ({"w2h_ratio": 0}, r"w2h_ratio=0\): expected a width by a height, greater than 0"),
            ({"w2h_ratio": -1}, r"expected a width by a height"),
            ({"area_for_downscale": "images"}, r"Did you mean 'image'\?"),
        ],
        ids=str,
    )
    def test_that_makes_no_sense_is_refused(self, settings, message):
        with pytest.raises(RecipeError, match=message):
            ops.RandomSizedCrop(**{"min_max_height": (5, 9), "size": (9, 9)} | settings)


@pytest.mark.parametrize(
    "window",
    [(-1, 0, 5, 5), (0, 0, 401, 5), (396, 0, 5, 5), (0, -1, 5, 5), (0, 296, 5, 5), (0, 0, 0, 5)],
    ids=str,
)
@pytest.mark.parametrize("op", BOTH, ids=lambda op: type(op).__name__)
def test_a_window_of_another_image_is_refused(op, window):
    params = dict(zip(("left", "top", "width", "height"), window, strict=True))
    with pytest.raises(OpError, match="drawn for an image of another size"):
        op.out_frame(FRAME, params)


def test_they_travel(check_travels):
    check_travels(ops.RandomResizedCrop([9, 8], scale=[0.1, 0.2], ratio=1, interpolation=2))
    check_travels(ops.RandomSizedCrop([5, 6], [9, 8], w2h_ratio=2, area_for_downscale="image"))
