import cv2
import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.record import MAX_VALUE, Frame

DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(21, 34, 3), (1, 1, 1), (1, 17, 3), (13, 1, 4), (9, 8, 2), (6, 5, 7), (4, 3, 130)]
SIZES = [(21, 34), (7, 5), (40, 50), (1, 1), (5, 61)]


def places(new, old):
    """Return where the pixel centres of the new size lie in the old: the docstring's formula, turned round."""
    return (np.arange(new) + 0.5) * old / new - 0.5


def linear_reference(src, height, width):
    done = src.astype(float)
    for axis, new in ((0, height), (1, width)):
        old = done.shape[axis]
        x = np.clip(places(new, old), 0, old - 1)
        low = np.floor(x).astype(int)
        share = (x - low).reshape([-1 if a == axis else 1 for a in range(3)])
        high = np.minimum(low + 1, old - 1)
        done = done.take(low, axis) * (1 - share) + done.take(high, axis) * share
    return done


def nearest_references(src, height, width):
    """Yield what nearest may be: where two pixels are as near, either will do."""
    for down in (-1e-6, 1e-6):
        for across in (-1e-6, 1e-6):
            y = np.floor(places(height, src.shape[0]) + 0.5 + down).astype(int)
            x = np.floor(places(width, src.shape[1]) + 0.5 + across).astype(int)
            yield src[np.maximum(y, 0)][:, np.maximum(x, 0)]


def area_reference(src, height, width):
    """Return the mean of what each new pixel covers."""
    done = src.astype(float)
    for axis, new in ((0, height), (1, width)):
        old = done.shape[axis]
        edges = np.arange(new + 1) * old / new
        cover = np.clip(
            np.minimum.outer(edges[1:], np.arange(old) + 1) - np.maximum.outer(edges[:-1], np.arange(old)), 0, 1
        )
        done = np.moveaxis(np.tensordot(cover / cover.sum(axis=1, keepdims=True), done, (1, axis)), 0, axis)
    return done


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
class TestReferences:
    def test_linear(self, make_pixels, run, dtype, shape, size):
        src = make_pixels(shape, dtype)
        out = run(ops.Resize(*size), src, {})
        # OpenCV weighs uint8 in 2048ths.
        assert np.abs(out - linear_reference(src, *size)).max() <= {"uint8": 1, "uint16": 0.6, "float32": 1e-5}[dtype]

    def test_nearest(self, make_pixels, run, dtype, shape, size):
        src = make_pixels(shape, dtype)
        out = run(ops.Resize(*size, interpolation=0), src, {})
        assert np.any([out == one for one in nearest_references(src, *size)], axis=0).all()

    def test_area_for_downscale(self, make_pixels, run, dtype, shape, size):
        src = make_pixels(shape, dtype)
        op = ops.Resize(*size, area_for_downscale="image")
        out = run(op, src, {})
        if size[0] <= shape[0] and size[1] <= shape[1]:
            tolerance = {"uint8": 0.51, "uint16": 0.6, "float32": 1e-5}[dtype]
            assert np.abs(out - area_reference(src, *size)).max() <= tolerance
        elif size[0] >= shape[0] and size[1] >= shape[1]:
            np.testing.assert_array_equal(out, run(ops.Resize(*size), src, {}))
        else:
            np.testing.assert_array_equal(out, run(ops.Resize(*size, interpolation="area"), src, {}))


INTERPOLATIONS = ["nearest", "linear", "cubic", "area", "lanczos4"]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
class TestAnyInterpolation:
    @pytest.mark.parametrize("channels", [1, 3, 4, 7])
    def test_to_the_same_size_is_identity(self, make_pixels, run, dtype, interpolation, channels):
        src = make_pixels((9, 13, channels), dtype)
        np.testing.assert_array_equal(run(ops.Resize(9, 13, interpolation), src, {}), src)

    @pytest.mark.parametrize("size", [(5, 6), (31, 40)])
    @pytest.mark.parametrize("channels", [2, 5, 7])
    def test_treats_each_channel_by_itself(self, make_pixels, run, dtype, interpolation, size, channels):
        src, op = make_pixels((17, 23, channels), dtype), ops.Resize(*size, interpolation)
        alone = np.concatenate(
            [run(op, np.ascontiguousarray(src[..., c : c + 1]), {}) for c in range(channels)], axis=-1
        )
        tolerance = 1e-6 if dtype == "float32" else 1
        assert np.abs(run(op, src, {}).astype(float) - alone).max() <= tolerance

    @pytest.mark.parametrize("size", [(5, 6), (31, 40)])
    def test_stays_in_range(self, make_pixels, run, dtype, interpolation, size):
        edges = np.where(make_pixels((17, 23, 3)) > 127, MAX_VALUE[dtype], 0).astype(dtype)
        out = run(ops.Resize(*size, interpolation), edges, {})
        assert 0 <= out.min() <= out.max() <= MAX_VALUE[dtype]
        assert out.max() > 0.8 * MAX_VALUE[dtype]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_normalized_pixels_keep_their_range(run, interpolation):
    src = np.linspace(-3, 4, 9 * 13 * 3, dtype=np.float32).reshape(9, 13, 3)
    out = run(ops.Resize(40, 50, interpolation), src, {})
    assert out.min() == pytest.approx(-3, abs=0.1)
    assert out.max() == pytest.approx(4, abs=0.1)


def test_only_asked_for_area_averages():
    # A pattern of single pixels: two neighbours in linear, all that is covered in area.
    src = np.zeros((1, 40, 1), np.uint8)
    src[:, ::4] = 200
    for op, wanted in ((ops.Resize(1, 10), {0}), (ops.Resize(1, 10, area_for_downscale="image"), {50})):
        out = np.empty((1, 10, 1), np.uint8)
        op.kernel(src, {}, out)
        assert set(out.ravel().tolist()) == wanted


def test_edges_stay_edges():
    frame = Frame(30, 50, 3, "uint8")
    matrix = ops.Resize(height=45, width=20).matrix(frame, {})
    np.testing.assert_allclose(matrix @ [-0.5, -0.5, 1], [-0.5, -0.5, 1])
    np.testing.assert_allclose(matrix @ [49.5, 29.5, 1], [19.5, 44.5, 1])
    np.testing.assert_allclose(matrix @ [10, 7, 1], [10.5 * 0.4 - 0.5, 7.5 * 1.5 - 0.5, 1])


def test_resize_keeps_no_frame_and_moves_by_its_kernel():
    op = ops.Resize(3, 4)
    assert op.out_frame(Frame(9, 9, 7, "uint16"), {}) == Frame(3, 4, 7, "uint16")
    assert not op.fuses
    assert op.has_kernel
    assert op.resampling.interpolation == "linear"
    assert op.sample_params(np.random.default_rng(0), Frame(9, 9, 7, "uint16")) == {}


def test_opencv_integers_are_taken_for_their_names():
    assert ops.Resize(3, 3, interpolation=cv2.INTER_AREA).interpolation == "area"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 0}, r"Resize\(height=0\): expected whole pixels, at least 1, got 0 \(int\)"),
        ({"width": 2.5}, r"Resize\(width=2.5\): expected whole pixels"),
        ({"interpolation": "linaer"}, r"Did you mean 'linear'\?"),
        ({"area_for_downscale": "images"}, r"Did you mean 'image'\?"),
        ({"area_for_downscale": True}, r"expected one of 'image', 'image_mask', got True"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        ops.Resize(**{"height": 3, "width": 3, **fields})


def test_resize_travels(check_travels):
    check_travels(ops.Resize(3, 4))
    check_travels(ops.Resize(3, 4, interpolation=2, area_for_downscale="image"))


class TestReduction:
    @pytest.mark.parametrize(
        ("shrinks", "reduction"), [(0.5, 1), (1, 1), (1.9, 1), (2, 2), (3.9, 2), (7.9, 3), (8, 4), (15.9, 7), (16, 8)]
    )
    def test_leaves_pixels_to_take_the_mean_of(self, shrinks, reduction):
        op = ops.Resize(100, 100, interpolation="area")
        assert op.reduction(Frame(round(100 * shrinks), 10_000, 3, "uint8")) == reduction
        assert op.reduction(Frame(10_000, round(100 * shrinks), 3, "uint8")) == reduction

    @pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "lanczos4"])
    def test_is_none_where_few_pixels_are_looked_at(self, interpolation):
        frame = Frame(1000, 1000, 3, "uint8")
        assert ops.Resize(10, 10, interpolation=interpolation).reduction(frame) == 1
        for area in ("image", "image_mask"):
            assert ops.Resize(10, 10, interpolation=interpolation, area_for_downscale=area).reduction(frame) == 50
