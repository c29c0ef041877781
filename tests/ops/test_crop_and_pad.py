"""Crops and borders by a rule: given places, what is missing to a size, so much of each side."""

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import Frame

DTYPES = ["uint8", "uint16", "float32"]
NUMPY_MODES = {"replicate": "edge", "reflect": "symmetric", "wrap": "wrap", "reflect_101": "reflect"}
FRAME = Frame(100, 200, 3, "uint8")


def padded(src, left, top, right, bottom, mode="constant", fill=0):
    """Return what NumPy makes of it."""
    widths = ((top, bottom), (left, right), (0, 0))
    if mode == "constant":
        return np.pad(src, widths, constant_values=fill)
    return np.pad(src, widths, mode=NUMPY_MODES[mode])


def draw(op, frame=FRAME, n=1):
    rng = np.random.default_rng(0)
    drawn = [op.sample_params(rng, frame) for _ in range(n)]
    assert {type(value) for d in drawn for value in d.values()} == {int}
    return drawn


class TestCrop:
    @pytest.mark.parametrize("shape", [(50, 40, 3), (50, 40, 1), (61, 45, 7)], ids=str)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_cuts_out_what_it_is_told(self, make_pixels, run, dtype, shape):
        src, op = make_pixels(shape, dtype), ops.Crop(3, 5, 40, 50)
        np.testing.assert_array_equal(run(op, src, *draw(op, Frame.of(src))), src[5:50, 3:40])

    def test_leaves_out_what_lies_beyond_the_image(self, make_pixels, run):
        src, op = make_pixels((20, 30, 3)), ops.Crop(x_min=10, y_min=4)
        np.testing.assert_array_equal(run(op, src, *draw(op, Frame.of(src))), src[4:, 10:])

    @pytest.mark.parametrize("mode", ["constant", *NUMPY_MODES])
    @pytest.mark.parametrize(
        ("position", "left", "top"),
        [("center", 7, 10), ("top_left", 0, 0), ("top_right", 15, 0), ("bottom_left", 0, 20), ("bottom_right", 15, 20)],
    )
    def test_pads_first_and_cuts_then(self, make_pixels, run, mode, position, left, top):
        # Far more is put around than is left of the image: the border repeats what was cut off, too.
        src = make_pixels((20, 30, 4))
        op = ops.Crop(25, 12, 45, 40, pad_if_needed=True, pad_position=position, border_mode=mode, fill=9)
        whole = padded(src, left, top, 45, 40, mode, 9)
        np.testing.assert_array_equal(run(op, src, *draw(op, Frame.of(src))), whole[12:40, 25:45])

    def test_of_nothing_but_border_is_border(self, make_pixels, run):
        src, op = make_pixels((5, 6, 1)), ops.Crop(10, 10, 14, 13, pad_if_needed=True, pad_position="top_left", fill=9)
        assert (run(op, src, *draw(op, Frame.of(src))) == 9).all()

    def test_puts_a_smaller_image_anywhere_at_random(self):
        op = ops.Crop(3, 0, 202, 80, pad_if_needed=True, pad_position="random")
        values, counts = np.unique([d["left"] for d in draw(op, n=300)], return_counts=True)
        assert values.tolist() == [1, 2, 3]
        assert counts.min() > 70  # of 100 expected
        assert {d["top"] for d in draw(op, n=50)} == {0}

    def test_of_an_image_that_does_not_reach_there_is_refused(self):
        op = ops.Crop(x_min=200, x_max=300)
        with pytest.raises(OpError, match=r"Crop\(x_min=200, x_max=300\): expected an image that reaches into the win"):
            op.out_frame(FRAME, *draw(op))
        with pytest.raises(OpError, match="drawn for an image of another size"):
            op.out_frame(FRAME, {"left": 199, "top": 0, "width": 2, "height": 1})
        with pytest.raises(OpError, match="one for each of the 3 channels"):
            ops.Crop(pad_if_needed=True, fill=(1, 2)).out_frame(FRAME, *draw(ops.Crop()))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"x_min": -1}, r"x_min=-1\): expected whole pixels, at least 0"),
            ({"x_max": 0}, r"x_max=0\): expected whole pixels, more than 0"),
            ({"y_min": 5, "y_max": 5}, r"y_max=5\): expected whole pixels, more than 5"),
            ({"y_max": 7.5}, r"expected whole pixels"),
            ({"pad_if_needed": 1}, r"expected True or False"),
            ({"pad_position": "centre"}, r"Did you mean 'center'\?"),
            ({"border_mode": "mirror"}, r"expected one of 'constant'"),
        ],
        ids=str,
    )
    def test_that_makes_no_sense_is_refused(self, settings, message):
        with pytest.raises(RecipeError, match=message):
            ops.Crop(**settings)

    def test_travels(self, check_travels):
        check_travels(ops.Crop(1, 2, 3, 4, pad_if_needed=True, border_mode=2, fill=[1, 2]))


class TestPadIfNeeded:
    @pytest.mark.parametrize("mode", ["constant", *NUMPY_MODES])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_is_what_numpy_makes_of_it(self, make_pixels, run, dtype, mode):
        src, op = make_pixels((9, 20, 7), dtype), ops.PadIfNeeded(16, 23, border_mode=mode, fill=1)
        np.testing.assert_array_equal(run(op, src, *draw(op, Frame.of(src))), padded(src, 1, 3, 2, 4, mode, 1))

    @pytest.mark.parametrize(
        ("op", "size"),
        [
            (ops.PadIfNeeded(100, 200), (100, 200)),
            (ops.PadIfNeeded(50, 300), (100, 300)),
            (ops.PadIfNeeded(None, None, 32, 64), (128, 256)),
            (ops.PadIfNeeded(None, None, 50, 200), (100, 200)),
            (ops.PadIfNeeded(None, 201, 101, None), (101, 201)),
        ],
        ids=repr,
    )
    def test_adds_what_is_missing(self, op, size):
        out = op.out_frame(FRAME, *draw(op))
        assert (out.height, out.width) == size

    @pytest.mark.parametrize(
        ("position", "left", "top"),
        [("center", 5, 2), ("top_left", 0, 0), ("top_right", 11, 0), ("bottom_left", 0, 5), ("bottom_right", 11, 5)],
    )
    def test_puts_the_image_where_it_is_told(self, position, left, top):
        (drawn,) = draw(ops.PadIfNeeded(105, 211, position=position))
        assert drawn == {"left": left, "top": top, "right": 11 - left, "bottom": 5 - top}

    def test_puts_it_anywhere_at_random(self):
        drawn = draw(ops.PadIfNeeded(103, 211, position="random"), n=400)
        values, counts = np.unique([d["top"] for d in drawn], return_counts=True)
        assert values.tolist() == [0, 1, 2, 3]
        assert counts.min() > 70  # of 100 expected
        assert {d["left"] for d in drawn} == set(range(12))

    def test_drawn_for_another_image_is_refused(self):
        op = ops.PadIfNeeded(105, 211)
        with pytest.raises(OpError, match="drawn for an image of another size"):
            op.out_frame(FRAME, *draw(op, Frame(99, 200, 3, "uint8")))
        with pytest.raises(OpError, match="expected at most 255"):
            ops.PadIfNeeded(105, 211, fill=256).out_frame(FRAME, *draw(op))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"pad_height_divisor": 32},
                r"min_height=1024, pad_height_divisor=32\): expected one of the two, and None",
            ),
            ({"min_width": None}, r"min_width=None, pad_width_divisor=None\): expected one of the two"),
            ({"min_width": 0}, r"min_width=0\): expected whole pixels, at least 1"),
            ({"min_height": None, "pad_height_divisor": 0.5}, r"pad_height_divisor=0.5\): expected whole pixels"),
            ({"position": "middle"}, r"expected one of 'center'"),
            ({"fill": "black"}, r"expected a pixel value"),
        ],
        ids=str,
    )
    def test_that_makes_no_sense_is_refused(self, settings, message):
        with pytest.raises(RecipeError, match=message):
            ops.PadIfNeeded(**settings)

    def test_travels(self, check_travels):
        check_travels(ops.PadIfNeeded())
        check_travels(ops.PadIfNeeded(None, 40, 32, position="random", border_mode=4))


class TestCropAndPad:
    @pytest.mark.parametrize("mode", ["constant", *NUMPY_MODES])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_cuts_and_then_pads(self, make_pixels, run, dtype, mode):
        src = make_pixels((20, 31, 7), dtype)
        op = ops.CropAndPad(px=(-3, 5, 7, -11), keep_size=False, border_mode=mode, fill=1)
        wanted = padded(src[3:, 11:], 0, 0, 5, 7, mode, 1)
        np.testing.assert_array_equal(run(op, src, *draw(op, Frame.of(src))), wanted)
        kept = ops.CropAndPad(px=(-3, 5, 7, -11), border_mode=mode, fill=1)
        resized = run(ops.Resize(20, 31), wanted, {})
        np.testing.assert_array_equal(run(kept, src, *draw(kept, Frame.of(src))), resized)

    def test_of_a_view_takes_nothing_from_around_it(self, make_pixels, run):
        view, op = (
            make_pixels((40, 50, 3))[10:20, 10:30],
            ops.CropAndPad(px=3, keep_size=False, border_mode="replicate"),
        )
        np.testing.assert_array_equal(run(op, view, *draw(op)), padded(view, 3, 3, 3, 3, "replicate"))

    @pytest.mark.parametrize(
        ("op", "wanted"),
        [
            (ops.CropAndPad(px=4), [4, 4, 4, 4]),
            (ops.CropAndPad(px=(1, -2, 3, -4)), [1, -2, 3, -4]),
            (ops.CropAndPad(percent=0.1), [10, 20, 10, 20]),
            (ops.CropAndPad(percent=(-0.055, 0.019, 0, 0.5)), [-5, 3, 0, 100]),  # cut to whole pixels
            (ops.CropAndPad(px=(-60, -120, -50, -90)), [-54, -115, -45, -84]),
            (ops.CropAndPad(px=(-100, -5, 0, -250)), [-99, 0, 0, -199]),
            (ops.CropAndPad(percent=-1), [-49, -100, -50, -99]),
            (ops.CropAndPad(px=(7, -300, -300, 9)), [7, -199, -99, 9]),
        ],
        ids=repr,
    )
    def test_leaves_at_least_a_pixel(self, op, wanted):
        (drawn,) = draw(op)
        assert [drawn[name] for name in ("top", "right", "bottom", "left")] == wanted
        op.out_frame(FRAME, drawn)

    def test_ranges_are_filled_for_each_side_or_once_for_all(self):
        alone, together = (
            np.array([list(d.values()) for d in draw(ops.CropAndPad(px=(-2, 3), sample_independently=one), n=600)])
            for one in (True, False)
        )
        for side in range(4):
            values, counts = np.unique(alone[:, side], return_counts=True)
            assert values.tolist() == [-2, -1, 0, 1, 2, 3]
            assert counts.min() > 65  # of 100 expected
        assert (alone.min(axis=1) != alone.max(axis=1)).mean() > 0.9
        assert (together == together[:, :1]).all()
        assert set(together[:, 0]) == {-2, -1, 0, 1, 2, 3}

    def test_each_side_is_a_number_a_range_or_a_list(self):
        drawn = draw(ops.CropAndPad(px=(5, (-3, -1), [0, 9, -9], 0)), n=200)
        assert [{d[name] for d in drawn} for name in ("top", "right", "bottom", "left")] == [
            {5},
            {-3, -2, -1},
            {0, 9, -9},
            {0},
        ]
        shares = [d["right"] for d in draw(ops.CropAndPad(percent=(0, (-0.5, 0.5), 0, 0)), n=300)]
        assert -100 <= min(shares) < -95
        assert 95 < max(shares) < 100

    def test_edges_of_what_is_made_become_the_images(self):
        op, params = ops.CropAndPad(px=0), {"top": -10, "right": 30, "bottom": 0, "left": -20}
        matrix = op.matrix(FRAME, params)  # from 20 to 230 across, from 10 to 100 down
        np.testing.assert_allclose(matrix @ [19.5, 9.5, 1], [-0.5, -0.5, 1])
        np.testing.assert_allclose(matrix @ [229.5, 99.5, 1], [199.5, 99.5, 1])
        assert not op.fuses

    def test_masks_are_nearest_and_filled_with_their_own(self, make_pixels, run):
        op = ops.CropAndPad(px=5, fill=(9, 8, 7), fill_mask=3)
        mask = np.zeros((100, 200, 1), np.uint8)
        assert set(run(op.for_masks(), mask, *draw(op)).ravel().tolist()) == {0, 3}

    def test_of_another_image_is_refused(self):
        with pytest.raises(OpError, match="drawn for an image of another size"):
            ops.CropAndPad(px=0).out_frame(FRAME, {"top": -60, "right": 0, "bottom": -40, "left": 0})

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, r"px=None, percent=None\): expected one of the two"),
            ({"px": 1, "percent": 0.1}, r"expected one of the two"),
            ({"px": 0.5}, r"px=0.5\): expected whole pixels: a number, \(low, high\), or \(top, right, bottom, left\)"),
            ({"px": (3, 1)}, r"expected whole pixels"),
            ({"px": (1, 2, 3)}, r"expected whole pixels"),
            ({"px": (1, 2, 3, (5, 4))}, r"expected whole pixels"),
            ({"px": (1, 2, 3, [])}, r"expected whole pixels"),
            ({"percent": "half"}, r"percent='half'\): expected shares of the sides"),
            ({"percent": float("nan")}, r"expected shares"),
            ({"percent": True}, r"expected shares"),
            ({"px": 1, "keep_size": "yes"}, r"expected True or False"),
            ({"px": 1, "interpolation": "linaer"}, r"Did you mean 'linear'\?"),
        ],
        ids=str,
    )
    def test_that_makes_no_sense_is_refused(self, settings, message):
        with pytest.raises(RecipeError, match=message):
            ops.CropAndPad(**settings)

    def test_travels(self, check_travels):
        check_travels(ops.CropAndPad(px=[1, [2, 3], [4, 5, 6], -1]))
        check_travels(ops.CropAndPad(percent=(-0.1, 1), keep_size=False, mask_interpolation=1))
