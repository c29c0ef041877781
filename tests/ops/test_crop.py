import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import Frame

DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(5, 8, 3), (1, 1, 1), (1, 9, 4), (7, 1, 2), (6, 6, 7), (3, 5, 130)]
NUMPY_MODES = {"replicate": "edge", "reflect": "symmetric", "wrap": "wrap", "reflect_101": "reflect"}
SIDES = st.integers(1, 12)


def padded(src, left, top, right, bottom, mode, fill=0):
    """Return what NumPy makes of it."""
    if mode != "constant":
        return np.pad(src, ((top, bottom), (left, right), (0, 0)), mode=NUMPY_MODES[mode])
    planes = [
        np.pad(src[..., c], ((top, bottom), (left, right)), constant_values=np.broadcast_to(fill, src.shape[2])[c])
        for c in range(src.shape[2])
    ]
    return np.stack(planes, axis=-1)


def draw(op, frame, n=1):
    rng = np.random.default_rng(0)
    return [op.sample_params(rng, frame) for _ in range(n)]


class TestPad:
    @pytest.mark.parametrize("mode", ["constant", *NUMPY_MODES])
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_is_what_numpy_makes_of_it(self, make_pixels, run, dtype, shape, mode):
        src = make_pixels(shape, dtype)  # the border is wider than some of them
        out = run(ops.Pad((3, 0, 9, 11), fill=1, border_mode=mode), src, {})
        np.testing.assert_array_equal(out, padded(src, 3, 0, 9, 11, mode, 1))

    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 130])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_fills_each_channel_with_its_value(self, make_pixels, run, dtype, channels):
        src = make_pixels((4, 3, channels), dtype)
        fill = tuple(c / 256 if dtype == "float32" else c for c in range(channels))
        np.testing.assert_array_equal(run(ops.Pad(2, fill=fill), src, {}), padded(src, 2, 2, 2, 2, "constant", fill))

    @pytest.mark.parametrize("mode", ["constant", "replicate", "wrap"])
    def test_of_a_view_takes_nothing_from_around_it(self, make_pixels, run, mode):
        image = make_pixels((24, 20, 3))
        for view in (image[4:-4, 3:9], image[4:-4, 18:2:-1]):
            np.testing.assert_array_equal(run(ops.Pad(5, border_mode=mode), view, {}), padded(view, 5, 5, 5, 5, mode))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_of_nothing_is_identity(self, make_pixels, run, dtype):
        src = make_pixels((5, 4, 7), dtype)
        np.testing.assert_array_equal(run(ops.Pad(), src, {}), src)

    def test_takes_one_two_or_four_numbers(self):
        assert ops.Pad(3) == ops.Pad((3, 3)) == ops.Pad([3, 3, 3, 3])
        assert ops.Pad((1, 2)) == ops.Pad((1, 2, 1, 2))
        assert ops.Pad(0) == ops.Pad()

    def test_keeps_no_frame_and_moves_by_its_kernel(self):
        assert not ops.Pad(1).fuses
        assert ops.Pad(1).has_kernel

    @pytest.mark.parametrize("fill", [256, (1, 2), (0, 0, 999)])
    def test_fill_that_pixels_cannot_have_is_refused(self, fill):
        with pytest.raises(OpError, match=r"Pad\(fill="):
            ops.Pad(1, fill=fill).out_frame(Frame(4, 4, 3, "uint8"), {})

    @pytest.mark.parametrize("padding", [-1, 1.5, (1, 2, 3), (1, -2), "wide", True, (), None])
    def test_by_no_whole_pixels_is_refused(self, padding):
        with pytest.raises(RecipeError, match=r"Pad\(padding=.*expected whole pixels, at least 0: one number, \(left"):
            ops.Pad(padding)

    def test_with_no_border_is_refused(self):
        with pytest.raises(RecipeError, match=r"border_mode='mirror'\): expected one of 'constant'"):
            ops.Pad(1, border_mode="mirror")
        with pytest.raises(RecipeError, match=r"fill='black'\): expected a pixel value"):
            ops.Pad(1, fill="black")

    def test_travels(self, check_travels):
        check_travels(ops.Pad())
        check_travels(ops.Pad([1, 2], fill=[1, 2, 3], border_mode=4))
        assert repr(ops.Pad(1)) == "Pad(padding=(1, 1, 1, 1))"


BOTH = [ops.CenterCrop, ops.RandomCrop]


@pytest.mark.parametrize("shape", [(5, 8, 3), (9, 6, 1), (7, 7, 4), (6, 9, 7)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
class TestCrops:
    def test_are_windows(self, make_pixels, run, dtype, shape):
        src, op = make_pixels(shape, dtype), ops.RandomCrop(3, 5)
        for params in draw(op, Frame.of(src), 20):
            x, y = params["left"], params["top"]
            np.testing.assert_array_equal(run(op, src, params), src[y : y + 3, x : x + 5])

    def test_of_the_middle_leave_as_much_on_either_side(self, make_pixels, run, dtype, shape):
        src, op = make_pixels(shape, dtype), ops.CenterCrop(3, 4)
        (params,) = draw(op, Frame.of(src))
        top, left = (shape[0] - 3) // 2, (shape[1] - 4) // 2
        np.testing.assert_array_equal(run(op, src, params), src[top : top + 3, left : left + 4])

    @pytest.mark.parametrize("kind", BOTH)
    def test_of_the_whole_are_identity(self, make_pixels, run, kind, dtype, shape):
        src, op = make_pixels(shape, dtype), kind(*shape[:2])
        (params,) = draw(op, Frame.of(src))
        np.testing.assert_array_equal(run(op, src, params), src)


@pytest.mark.parametrize("kind", BOTH)
class TestAnyCrop:
    @pytest.mark.parametrize("size", [(6, 5), (5, 9)])
    def test_of_a_smaller_image_is_refused_with_what_to_do(self, kind, size):
        op, frame = kind(*size), Frame(5, 8, 3, "uint8")
        if op.width <= 8:
            assert op.height == 6
        wanted = rf"{kind.__name__}\(height={size[0]}, width={size[1]}\): expected an image of at least "
        wanted += rf"{size[1]}x{size[0]} pixels, got 8x5x3 uint8; pad_if_needed=True pads it, Resize enlarges it"
        with pytest.raises(OpError, match=wanted):
            op.out_frame(frame, *draw(op, frame))

    @given(height=SIDES, width=SIDES, wanted_height=SIDES, wanted_width=SIDES)
    def test_pads_where_the_image_is_smaller(self, kind, height, width, wanted_height, wanted_width):
        # Pad to at least the window, then cut: the long way.
        op = kind(wanted_height, wanted_width, pad_if_needed=True, border_mode="reflect")
        src = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        (params,) = draw(op, Frame.of(src))
        left, top = max(0, wanted_width - width) // 2, max(0, wanted_height - height) // 2
        large = padded(src, left, top, left + 1, top + 1, "reflect")
        x, y = params["left"] + left, params["top"] + top
        out = np.empty((wanted_height, wanted_width, 3), np.uint8)
        assert op.out_frame(Frame.of(src), params) == Frame.of(out)
        op.kernel(src, params, out)
        np.testing.assert_array_equal(out, large[y : y + wanted_height, x : x + wanted_width])

    @pytest.mark.parametrize(
        ("position", "left", "top"),
        [("center", 2, 1), ("top_left", 0, 0), ("top_right", 5, 0), ("bottom_left", 0, 3), ("bottom_right", 5, 3)],
    )
    def test_puts_a_smaller_image_where_it_is_told(self, make_pixels, run, kind, position, left, top):
        src, op = make_pixels((5, 8, 3)), kind(8, 13, pad_if_needed=True, pad_position=position, fill=(1, 2, 3))
        (params,) = draw(op, Frame.of(src))
        wanted = padded(src, left, top, 5 - left, 3 - top, "constant", (1, 2, 3))
        np.testing.assert_array_equal(run(op, src, params), wanted)

    def test_puts_a_smaller_image_anywhere_at_random(self, kind):
        op = kind(8, 9, pad_if_needed=True, pad_position="random")
        draws = draw(op, Frame(5, 8, 3, "uint8"), 400)
        values, counts = np.unique([d["top"] for d in draws], return_counts=True)
        assert values.tolist() == [-3, -2, -1, 0]
        assert counts.min() > 70  # of 100 expected
        assert {d["left"] for d in draws} == {-1, 0}

    def test_fill_that_pixels_cannot_have_is_refused_where_it_is_used(self, kind):
        frame, where = Frame(9, 9, 4, "uint8"), {"left": 0, "top": 0}
        assert kind(3, 3, fill=(1, 2, 3)).out_frame(frame, where) == Frame(3, 3, 4, "uint8")
        with pytest.raises(OpError, match=r"one for each of the 4 channels"):
            kind(3, 3, fill=(1, 2, 3), pad_if_needed=True).out_frame(frame, where)

    @pytest.mark.parametrize("params", [{"left": 7, "top": 0}, {"left": 0, "top": 3}, {"left": -1, "top": 0}])
    def test_drawn_for_another_image_is_refused(self, kind, params):
        with pytest.raises(OpError, match=r"expected a window inside of 8x5x3 uint8, got 2x3 pixels from \("):
            kind(3, 2).out_frame(Frame(5, 8, 3, "uint8"), params)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"height": 0}, r"height=0\): expected whole pixels, at least 1, got 0 \(int\)"),
            ({"width": 2.5}, r"width=2.5\): expected whole pixels"),
            ({"width": "all"}, r"width='all'\): expected whole pixels"),
            ({"pad_if_needed": 1}, r"expected True or False"),
            ({"pad_position": "centre"}, r"expected one of 'center', .*Did you mean 'center'\?"),
            ({"border_mode": 16}, r"expected one of 'constant'"),
            ({"fill": "black"}, r"expected a pixel value"),
        ],
        ids=str,
    )
    def test_that_makes_no_sense_is_refused(self, kind, fields, message):
        with pytest.raises(RecipeError, match=message):
            kind(**{"height": 3, "width": 3, **fields})

    def test_keeps_no_frame_and_moves_by_its_kernel(self, kind):
        assert not kind(3, 3).fuses
        assert kind(3, 3).has_kernel

    def test_travels(self, kind, check_travels):
        check_travels(kind(3, 4))
        check_travels(kind(3, 4, pad_if_needed=True, pad_position="random", border_mode=2, fill=[1, 2]))
        assert repr(kind(3, 4.0)) == f"{kind.__name__}(height=3, width=4)"


def test_every_window_is_drawn_as_often():
    draws = draw(ops.RandomCrop(3, 5), Frame(5, 6, 3, "uint8"), 3000)
    places, counts = np.unique([(d["left"], d["top"]) for d in draws], axis=0, return_counts=True)
    assert places.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert counts.min() > 420  # of 500 expected
    assert {type(value) for d in draws for value in d.values()} == {int}


def test_the_middle_is_not_left_to_chance():
    assert len({str(d) for d in draw(ops.CenterCrop(3, 5), Frame(9, 12, 3, "uint8"), 20)}) == 1
