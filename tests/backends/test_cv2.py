import cv2
import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import MOST_BUFFERS, Cv2Backend
from kaleidoscope.backends.moves import moves_of
from kaleidoscope.errors import OpError
from kaleidoscope.ops.base import Geometric, Op, Resampling, into, op
from kaleidoscope.ops.interpolate import MAX_SIDE
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]


def image(shape, dtype="uint8", seed=0):
    """Return random pixels that nobody may write to, as a walk hands them over."""
    values = np.random.default_rng(seed).random(shape) * MAX_VALUE[dtype]
    pixels = values.astype(dtype)
    pixels.flags.writeable = False
    return pixels


def shift(x, y):
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def warp(pixels, matrix, resampling=None, frame=None):
    return Cv2Backend().warp(pixels, matrix, resampling, frame or Frame.of(pixels))


@op
class Half(Op):
    """Halves every value."""

    short_name = "half"

    def kernel(self, src, params, out):
        np.floor_divide(src, 2, out=out)


@op
class Broken(Op):
    short_name = "broken"

    def kernel(self, src, params, out):
        raise ValueError("broken")


# The eight symmetries of a rectangle: what NumPy calls it, and the map of (x, y), integers at pixel centres.
W, H = 7, 5
SYMMETRIES = {
    "nothing": (lambda a: a, [[1, 0, 0], [0, 1, 0]]),
    "mirror": (lambda a: a[:, ::-1], [[-1, 0, W - 1], [0, 1, 0]]),
    "upside down": (lambda a: a[::-1], [[1, 0, 0], [0, -1, H - 1]]),
    "half turn": (lambda a: np.rot90(a, 2), [[-1, 0, W - 1], [0, -1, H - 1]]),
    "quarter turn": (lambda a: np.rot90(a, 1), [[0, 1, 0], [-1, 0, W - 1]]),
    "quarter turn back": (lambda a: np.rot90(a, 3), [[0, -1, H - 1], [1, 0, 0]]),
    "transposed": (lambda a: a.transpose(1, 0, 2), [[0, 1, 0], [1, 0, 0]]),
    "transposed the other way": (lambda a: np.rot90(a, 2).transpose(1, 0, 2), [[0, -1, H - 1], [-1, 0, W - 1]]),
}


class TestPermutations:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 64])
    @pytest.mark.parametrize("name", SYMMETRIES)
    def test_move_every_pixel_to_its_place(self, name, channels, dtype):
        move, matrix = SYMMETRIES[name]
        pixels = image((H, W, channels), dtype)
        wanted = move(pixels)
        moved = warp(pixels, np.array([*matrix, [0, 0, 1]], dtype=float), frame=Frame.of(wanted))
        assert moved.dtype == pixels.dtype
        np.testing.assert_array_equal(moved, wanted)
        assert not np.may_share_memory(moved, pixels)

    def test_may_be_off_in_the_last_bits(self):
        pixels, turn = image((H, W, 3)), np.pi / 2
        matrix = np.array([[np.cos(turn), -np.sin(turn), H - 1], [np.sin(turn), np.cos(turn), 1e-13], [0, 0, 1]])
        moved = warp(pixels, matrix, frame=Frame(W, H, 3, "uint8"))
        np.testing.assert_array_equal(moved, np.rot90(pixels, 3))

    @pytest.mark.parametrize("channels", [129, 600])
    def test_know_no_most_channels(self, channels):
        # A flip is exact "for any dtype and number of channels"; OpenCV stops at 128.
        pixels = image((H, W, channels))
        flipped = Cv2Backend().apply(pixels, moves_of(ops.HorizontalFlip(), {}, Frame.of(pixels)))
        np.testing.assert_array_equal(flipped, pixels[:, ::-1])

    @pytest.mark.parametrize(
        "view",
        [
            lambda a: a[..., ::-1],
            lambda a: a[1:4, 2:6],
            lambda a: a[::2, ::-1],
            lambda a: a[..., :2],
            np.asfortranarray,
        ],
        ids=["bgr", "crop", "strided", "some channels", "fortran"],
    )
    def test_take_views(self, view):
        pixels = view(image((H, W, 3)))
        flipped = Cv2Backend().apply(pixels, moves_of(ops.HorizontalFlip(), {}, Frame.of(pixels)))
        np.testing.assert_array_equal(flipped, pixels[:, ::-1])

    @pytest.mark.parametrize(
        "matrix", [shift(1, 0), shift(0, -2), np.diag([2.0, 2.0, 1.0]), np.array([[1.0, 1, 0], [0, 1, 0], [0, 0, 1]])]
    )
    def test_are_none_that_do_not_map_the_frame_onto_itself(self, matrix):
        # An op of somebody else that says it interpolates nothing, and yet moves pixels out of the frame, must not
        # get its input back as if that were the outcome.
        with pytest.raises(OpError):
            warp(image((H, W, 3)), matrix)


class TestWarps:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("channels", [1, 3, 4, 7])
    def test_in_perspective_treat_each_channel_like_a_grey_image(self, channels, dtype):
        pixels = image((30, 41, channels), dtype)
        matrix = np.array([[0.9, 0.1, 2], [-0.1, 1.1, 1], [0.004, -0.003, 1]])
        for interpolation in ("nearest", "linear"):
            moved = warp(pixels, matrix, Resampling(interpolation))
            for i in range(channels):
                grey = np.ascontiguousarray(pixels[..., i])
                flags = getattr(cv2, f"INTER_{interpolation.upper()}")
                np.testing.assert_array_equal(moved[..., i], cv2.warpPerspective(grey, matrix, (41, 30), flags=flags))

    def test_of_three_channels_do_not_mix_up_images_of_other_sizes(self):
        matrix = ops.Rotate().matrix(Frame(20, 30, 3, "uint8"), {"angle": 20.0})
        for _ in range(2):  # memory is kept from one to the next
            for shape in ((20, 30, 3), (30, 20, 3), (20, 30, 3)):
                pixels = image(shape)
                wanted = cv2.warpAffine(pixels, matrix[:2], shape[1::-1])
                np.testing.assert_array_equal(warp(pixels, matrix, Resampling()), wanted)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 8, 9, 131])
    def test_treat_each_channel_like_a_grey_image(self, channels, dtype):
        pixels, fill = image((9, 11, channels), dtype), tuple(np.linspace(0, MAX_VALUE[dtype], channels).tolist())
        matrix = ops.Rotate().matrix(Frame.of(pixels), {"angle": 33.0})
        # OpenCV rounds the places of two channels at once to 1/32 pixel, and of no other number.
        interpolation = "nearest" if channels % 4 == 2 else "linear"
        moved = warp(pixels, matrix, Resampling(interpolation, fill=fill))
        assert moved.shape == pixels.shape
        for i in range(channels):
            grey = np.ascontiguousarray(pixels[..., i : i + 1])
            alone = warp(grey, matrix, Resampling(interpolation, fill=fill[i]))
            np.testing.assert_array_equal(moved[..., i : i + 1], alone)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "lanczos4", "area"])
    def test_by_nothing_are_identity(self, interpolation, dtype):
        pixels = image((9, 11, 3), dtype)
        np.testing.assert_array_equal(warp(pixels, np.eye(3), Resampling(interpolation)), pixels)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize(
        ("border_mode", "numpys"),
        [
            ("constant", {"mode": "constant"}),
            ("replicate", {"mode": "edge"}),
            ("reflect", {"mode": "symmetric"}),
            ("wrap", {"mode": "wrap"}),
            ("reflect_101", {"mode": "reflect"}),
        ],
    )
    def test_by_whole_pixels_show_the_border(self, border_mode, numpys, dtype):
        pixels = image((6, 8, 3), dtype)
        moved = warp(pixels, shift(3, -2), Resampling("linear", border_mode))
        padded = np.pad(pixels, ((0, 2), (3, 0), (0, 0)), **numpys)
        np.testing.assert_array_equal(moved, padded[2:, :8])

    @pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "lanczos4"])
    @pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 1), (7, 1, 4)], ids=str)
    def test_mirror_a_single_row_or_column(self, shape, interpolation):
        # OpenCV 5.0 never came back from cubic interpolation.
        pixels = image(shape)
        matrix = ops.Rotate().matrix(Frame.of(pixels), {"angle": 33.0})
        again = np.repeat(np.repeat(pixels, 3 if shape[0] == 1 else 1, axis=0), 3 if shape[1] == 1 else 1, axis=1)
        moved = warp(pixels, matrix, Resampling(interpolation, "reflect_101"))
        wanted = warp(again, matrix, Resampling(interpolation, "reflect_101"), Frame.of(pixels))
        np.testing.assert_array_equal(moved, wanted)
        there = warp(pixels, np.eye(3), Resampling(interpolation, "reflect_101"))
        np.testing.assert_array_equal(there, pixels)

    def test_fill_with_the_value_that_was_asked_for(self):
        moved = warp(image((6, 8, 3)), shift(8, 0), Resampling(fill=(1.0, 2.0, 3.0)))
        np.testing.assert_array_equal(moved, np.broadcast_to(np.uint8([1, 2, 3]), (6, 8, 3)))
        assert (warp(image((6, 8, 3)), shift(8, 0), Resampling(fill=9.0)) == 9).all()

    @pytest.mark.parametrize("angle", [7.0, 45.0, -100.0])
    @pytest.mark.parametrize(("interpolation", "places"), [("linear", 1e-3), ("cubic", 0.06), ("lanczos4", 0.04)])
    def test_reproduce_a_slope(self, interpolation, places, angle):
        # A reference without another library. Linear is exact for pixels that grow evenly, and the others
        # nearly so (OpenCV's cubic has a = -0.75; a = -0.5 would be exact): `places` are pixels.
        height, width = 61, 81
        y, x = np.mgrid[:height, :width]
        slope = (0.2 + 0.004 * x + 0.003 * y).astype(np.float32)[..., None]
        matrix = ops.Rotate().matrix(Frame.of(slope), {"angle": angle})
        moved = warp(slope, matrix, Resampling(interpolation, "constant", -1.0))
        back = np.linalg.inv(matrix)
        from_x = back[0, 0] * x + back[0, 1] * y + back[0, 2]
        from_y = back[1, 0] * x + back[1, 1] * y + back[1, 2]
        inside = (from_x > 5) & (from_x < width - 6) & (from_y > 5) & (from_y < height - 6)
        assert inside.sum() > 1000
        wanted = 0.2 + 0.004 * from_x + 0.003 * from_y
        np.testing.assert_allclose(moved[..., 0][inside], wanted[inside], atol=0.007 * places, rtol=0)

    @pytest.mark.parametrize("interpolation", ["cubic", "lanczos4"])
    def test_keep_float_pixels_between_0_and_1(self, interpolation):
        # These overshoot at edges; integers are clipped by their type, and what is written as 1.1 clips elsewhere.
        pixels = (image((20, 20, 3), "float32") > 0.5).astype(np.float32)
        moved = warp(pixels, ops.Rotate().matrix(Frame.of(pixels), {"angle": 10.0}), Resampling(interpolation))
        assert moved.min() >= 0
        assert moved.max() <= 1

    def test_make_the_frame_that_was_asked_for(self):
        pixels, rotate, params = image((40, 60, 1), "uint16"), ops.Rotate(crop_border=True), {"angle": 20.0}
        frame = rotate.out_frame(Frame.of(pixels), params)
        made = Cv2Backend().apply(pixels, moves_of(rotate, params, Frame.of(pixels)))
        assert Frame.of(made) == frame != Frame.of(pixels)

    @pytest.mark.parametrize("shape", [(1, MAX_SIDE, 1), (MAX_SIDE, 1, 3)], ids=str)
    def test_do_the_largest_side(self, shape):
        pixels = image(shape)
        np.testing.assert_array_equal(warp(pixels, np.eye(3), Resampling()), pixels)

    @pytest.mark.parametrize("shape", [(1, MAX_SIDE + 1, 1), (MAX_SIDE + 1, 1, 3)], ids=str)
    def test_refuse_a_larger_one(self, shape):
        with pytest.raises(OpError, match=f"at most {MAX_SIDE} pixels a side"):
            warp(image(shape), np.eye(3), Resampling())


class TestBuffers:
    def test_are_used_again(self):
        backend, frame = Cv2Backend(), Frame(4, 5, 3, "uint8")
        first = backend.take(frame)
        assert (first.shape, first.dtype) == (frame.shape, np.uint8)
        second = backend.take(frame)
        assert second is not first
        backend.release(first)
        assert backend.take(frame) is first
        assert backend.counts == {"buffer": 2}
        assert backend.take(frame) is not first  # it is lent
        assert backend.counts == {"buffer": 3}

    def test_of_another_frame_are_others(self):
        backend = Cv2Backend()
        frames = [Frame(4, 5, 3, "uint8"), Frame(5, 4, 3, "uint8"), Frame(4, 5, 3, "uint16"), Frame(4, 5, 1, "uint8")]
        for frame in frames:
            backend.release(backend.take(frame))
        assert {Frame.of(backend.take(frame)) for frame in frames} == set(frames)
        assert backend.counts == {"buffer": 4}

    def test_are_bounded_however_many_sizes_there_are(self):
        backend = Cv2Backend()
        lent = [backend.take(Frame(1, 1, 1, "uint8")) for _ in range(3)]
        for width in range(1, 200):
            backend.release(backend.take(Frame(1, width, 1, "uint8")))
            assert len(lent) + sum(map(len, backend._free.values())) <= MOST_BUFFERS

    def test_are_as_many_as_are_in_use(self):
        backend, frame = Cv2Backend(), Frame(1, 1, 1, "uint8")
        for _ in range(3):
            for buffer in [backend.take(frame) for _ in range(2 * MOST_BUFFERS)]:
                backend.release(buffer)
        assert backend.counts == {"buffer": 2 * MOST_BUFFERS}

    def test_come_back_from_an_op_that_failed(self):
        backend, pixels = Cv2Backend(), image((4, 5, 3))
        with pytest.raises(ValueError, match="broken"):
            backend.apply(pixels, moves_of(Broken(), {}, Frame.of(pixels)))
        huge = image((1, MAX_SIDE + 1, 1))
        with pytest.raises(OpError):
            backend.warp(huge, np.eye(3), Resampling(), Frame.of(huge))
        assert backend.counts == {"buffer": 2}
        backend.take(Frame.of(pixels))
        backend.take(Frame.of(huge))
        assert backend.counts == {"buffer": 2}


class TestKernels:
    def test_fill_a_buffer_and_leave_their_source(self):
        backend, pixels = Cv2Backend(), image((4, 5, 3))
        made = backend.apply(pixels, moves_of(Half(), {}, Frame.of(pixels)))
        np.testing.assert_array_equal(made, pixels // 2)
        assert backend.counts == {"buffer": 1, "kernel": 1}

    def test_that_opencv_gave_another_array_are_refused(self):
        pixels, out = image((4, 5, 3)), np.empty((4, 5, 3), np.uint16)
        with pytest.raises(OpError, match=r"did not write into the buffer: wanted \(4, 5, 3\) uint8"):
            into(out, cv2.blur(pixels, (3, 3), dst=out))
        fitting = np.empty_like(pixels)
        into(fitting, cv2.blur(pixels, (3, 3), dst=fitting))

    def test_that_are_missing_are_op_errors(self):
        @op
        class Nothing(Op):
            short_name = "nothing"

        @op
        class Nowhere(Geometric):
            short_name = "nowhere"

        pixels = image((4, 5, 3))
        with pytest.raises(OpError, match="Nothing has no kernel"):
            Cv2Backend().apply(pixels, moves_of(Nothing(), {}, Frame.of(pixels)))
        with pytest.raises(OpError, match="Nowhere has no matrix"):
            Cv2Backend().apply(pixels, moves_of(Nowhere(), {}, Frame.of(pixels)))


class TestWindows:
    def crop_of(self, pixels, *, more=()):
        return [*more, *moves_of(ops.CenterCrop(2, 3), {"left": 1, "top": 1}, Frame.of(pixels))]

    def test_are_parts_of_their_source(self):
        backend, pixels = Cv2Backend(), image((4, 5, 3))
        part = backend.apply(pixels, self.crop_of(pixels))
        assert np.array_equal(part, pixels[1:3, 1:4])
        assert np.may_share_memory(part, pixels)
        assert not part.flags.writeable, "what nobody may write to is so in part, too"
        backend.release(part)
        assert backend.counts == {"kernel": 1}, "no buffer was taken"
        assert not backend._windows
        assert backend.take(Frame.of(part)) is not part

    def test_keep_the_buffer_that_they_are_a_part_of(self):
        backend, pixels = Cv2Backend(), image((4, 5, 3))
        frame = Frame.of(pixels)
        flipped = moves_of(ops.HorizontalFlip(), {}, frame)
        part = backend.apply(pixels, self.crop_of(pixels, more=flipped))
        other = backend.apply(pixels, moves_of(Half(), {}, frame))
        assert not np.may_share_memory(part, other), "its buffer is in use"
        assert np.array_equal(part, pixels[:, ::-1][1:3, 1:4])
        backend.release(part)
        backend.release(other)
        lent = [backend.take(frame) for _ in range(2)]
        assert backend.counts["buffer"] == 2, "both came back"
        assert {id(buffer) for buffer in lent} == {id(other), id(lent[0]) if lent[1] is other else id(lent[1])}

    def test_of_windows_are_windows(self):
        backend, pixels = Cv2Backend(), image((6, 7, 3))
        inner = moves_of(ops.CenterCrop(1, 2), {"left": 0, "top": 1}, Frame(2, 3, 3, "uint8"))
        flipped = moves_of(ops.HorizontalFlip(), {}, Frame.of(pixels))
        part = backend.apply(pixels, [*self.crop_of(pixels, more=flipped), *inner])
        assert np.array_equal(part, pixels[:, ::-1][1:3, 1:4][1:2, :2])
        backend.release(part)
        assert not backend._windows
        backend.take(Frame.of(pixels))
        assert backend.counts["buffer"] == 1, "the buffer of the flip came back"

    def test_come_back_from_an_op_that_failed(self):
        backend, pixels = Cv2Backend(), image((4, 5, 3))
        flipped = moves_of(ops.HorizontalFlip(), {}, Frame.of(pixels))
        broken = moves_of(Broken(), {}, Frame(2, 3, 3, "uint8"))
        with pytest.raises(ValueError, match="broken"):
            backend.apply(pixels, [*self.crop_of(pixels, more=flipped), *broken])
        assert not backend._windows
        for frame in (Frame.of(pixels), Frame(2, 3, 3, "uint8")):
            backend.take(frame)
        assert backend.counts["buffer"] == 2

    def test_are_not_what_a_kernel_of_its_own_makes(self):
        @op
        class Negative(ops.CenterCrop):
            def kernel(self, src, params, out):
                super().kernel(src, params, out)
                np.subtract(255, out, out=out)

        pixels = image((4, 5, 3))
        made = Cv2Backend().apply(pixels, moves_of(Negative(2, 3), {"left": 1, "top": 1}, Frame.of(pixels)))
        assert np.array_equal(made, 255 - pixels[1:3, 1:4])

    @pytest.mark.parametrize("what", ["another shape", "another type", "an error"])
    def test_that_are_wrong_are_refused(self, what):
        @op
        class Wrong(Op):
            short_name = "wrong"

            def window(self, src, params):
                if what == "an error":
                    raise OpError("no window")
                return src[:3] if what == "another shape" else src.view(np.float32)

        backend, pixels = Cv2Backend(), image((4, 8, 4))
        flipped = moves_of(ops.HorizontalFlip(), {}, Frame.of(pixels))
        told = "no window" if what == "an error" else "announced 8x4x4 uint8, and its window"
        with pytest.raises(OpError, match=told):
            backend.apply(pixels, [*flipped, *moves_of(Wrong(), {}, Frame.of(pixels))])
        backend.take(Frame.of(pixels))
        assert backend.counts["buffer"] == 1, "the buffer of the flip came back"

    def test_may_be_all_there_is(self):
        @op
        class Whole(Op):
            short_name = "whole"

            def window(self, src, params):
                return src

        backend, pixels = Cv2Backend(), image((4, 5, 3))
        frame = Frame.of(pixels)
        source = backend.take(frame)
        np.copyto(source, pixels)
        whole = backend.apply(source, moves_of(Whole(), {}, frame))
        assert np.array_equal(whole, pixels)
        assert whole is not source
        backend.release(whole)
        backend.release(source)
        assert backend.take(frame) is source
        assert backend.counts["buffer"] == 1

    def test_are_copied_where_they_are_padded(self):
        backend, pixels = Cv2Backend(), image((4, 5, 3))
        crop = ops.CenterCrop(6, 3, pad_if_needed=True)
        part = backend.apply(pixels, moves_of(crop, {"left": 1, "top": -1}, Frame.of(pixels)))
        assert not np.may_share_memory(part, pixels)
        assert np.array_equal(part[1:5], pixels[:, 1:4])


def test_counts_tell_what_was_applied():
    backend, pixels = Cv2Backend(), image((4, 5, 3))
    for kind, params in [(Half(), {}), (ops.Rotate(), {"angle": 3.0}), (ops.HorizontalFlip(), {})]:
        backend.release(backend.apply(pixels, moves_of(kind, params, Frame.of(pixels))))
    assert backend.counts == {"buffer": 1, "kernel": 1, "warp": 1, "permutation": 1}


def pattern(x, y):
    """Return a smooth pattern, between 0 and 255, at any place of the plane."""
    waves = np.sin(0.31 * x + 0.11 * y) + np.sin(0.07 * x - 0.27 * y) + np.sin(0.19 * (x + y))
    return 127.5 + 42 * waves


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_one_warp_is_nearer_to_the_truth_than_step_by_step(interpolation):
    """The truth in float64: the pattern itself, at the place that each output pixel comes from."""
    rng = np.random.default_rng(0)
    side, centre = 200, 99.5
    y, x = np.mgrid[:side, :side].astype(float)
    src = np.rint(pattern(x, y))[..., np.newaxis].astype(np.uint8)
    resampling = Resampling(interpolation, "reflect_101")
    frame = Frame.of(src)
    once, stepwise = [], []
    for _ in range(20):
        matrices = []
        for _ in range(3):
            angle, scale = rng.uniform(-0.3, 0.3), rng.uniform(0.9, 1.1)
            a, b = scale * np.cos(angle), scale * np.sin(angle)
            matrices.append(
                np.array([[a, b, centre - (a + b) * centre], [-b, a, centre - (a - b) * centre], [0, 0, 1]])
            )
        whole = matrices[2] @ matrices[1] @ matrices[0]
        back = np.linalg.inv(whole)
        truth = pattern(*(back[i, 0] * x + back[i, 1] * y + back[i, 2] for i in (0, 1)))
        steps = src
        for matrix in matrices:
            steps = Cv2Backend().warp(steps, matrix, resampling, frame)
        inside = np.s_[60:-60, 60:-60]  # where no border came in
        for made, errors in ((Cv2Backend().warp(src, whole, resampling, frame), once), (steps, stepwise)):
            errors.append(np.abs(made[..., 0] - truth)[inside].mean())
    assert all(np.array(once) < stepwise)
    assert np.mean(once) < 0.7 * np.mean(stepwise)
