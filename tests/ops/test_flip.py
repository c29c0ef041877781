import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.record import Frame


@pytest.mark.parametrize("width", [1, 2, 7])
def test_flip_sends_every_pixel_centre_to_its_mirror_image(width):
    frame = Frame(3, width, 3, "uint8")
    columns = np.arange(width)
    moved = ops.HorizontalFlip().matrix(frame, {}) @ [columns, np.full(width, 2), np.ones(width)]
    np.testing.assert_array_equal(moved, [columns[::-1], np.full(width, 2), np.ones(width)])


def test_flip_twice_is_identity():
    matrix = ops.HorizontalFlip().matrix(Frame(4, 9, 1, "uint16"), {})
    np.testing.assert_array_equal(matrix @ matrix, np.eye(3))


def test_flip_is_exact_keeps_the_frame_and_draws_nothing():
    flip, frame = ops.HorizontalFlip(), Frame(4, 9, 7, "float32")
    assert flip.resampling is None
    assert flip.fuses
    assert flip.out_frame(frame, {}) == frame
    assert flip.sample_params(np.random.default_rng(0), frame) == {}


def test_flip_travels(check_travels):
    check_travels(ops.HorizontalFlip())


DTYPES = ["uint8", "uint16", "float32"]
SHAPES = [(5, 8, 3), (1, 1, 1), (1, 9, 4), (7, 1, 1), (6, 6, 7), (4, 3, 2), (3, 5, 130)]
# Each op as NumPy says it.
EXACT = {
    "vflip": (ops.VerticalFlip(), {}, lambda a: a[::-1]),
    "transpose": (ops.Transpose(), {}, lambda a: a.transpose(1, 0, 2)),
    "none": (ops.RandomRotate90(), {"factor": 0}, lambda a: a),
    "quarter": (ops.RandomRotate90(), {"factor": 1}, np.rot90),
    "half": (ops.RandomRotate90(), {"factor": 2}, lambda a: np.rot90(a, 2)),
    "three quarters": (ops.RandomRotate90(), {"factor": 3}, lambda a: np.rot90(a, 3)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_every_pixel_lands_where_numpy_puts_it(make_pixels, apply, name, shape, dtype):
    op, params, move = EXACT[name]
    src = make_pixels(shape, dtype)
    np.testing.assert_array_equal(apply(op, src, params), move(src))


@pytest.mark.parametrize(
    ("op", "params", "times"),
    [
        (ops.VerticalFlip(), {}, 2),
        (ops.Transpose(), {}, 2),
        (ops.RandomRotate90(), {"factor": 1}, 4),
        (ops.RandomRotate90(), {"factor": 2}, 2),
        (ops.RandomRotate90(), {"factor": 3}, 4),
    ],
    ids=str,
)
def test_as_often_as_it_takes_is_identity(make_pixels, apply, op, params, times):
    src = turned = make_pixels((5, 8, 3))
    for done in range(1, times + 1):
        turned = apply(op, turned, params)
        assert np.array_equal(turned, src) == (done == times)


def test_quarter_turns_and_a_transposition_are_a_flip(make_pixels, apply):
    src = make_pixels((5, 8, 3))
    turned = apply(ops.RandomRotate90(), apply(ops.Transpose(), src, {}), {"factor": 1})
    np.testing.assert_array_equal(turned, apply(ops.VerticalFlip(), src, {}))


def test_all_are_exact_and_only_flips_keep_the_frame_of_any_image():
    for op in (ops.VerticalFlip(), ops.Transpose(), ops.RandomRotate90()):
        assert op.resampling is None
        assert not op.has_kernel
    assert ops.VerticalFlip().fuses
    # A plan is made without pixels: what depends on the image's shape, or on a draw, counts as no.
    assert not ops.Transpose().fuses
    assert not ops.RandomRotate90().fuses


def test_quarter_turns_are_drawn_evenly():
    rng = np.random.default_rng(0)
    draws = [ops.RandomRotate90().sample_params(rng, Frame(4, 9, 1, "uint8"))["factor"] for _ in range(2000)]
    values, counts = np.unique(draws, return_counts=True)
    assert values.tolist() == [0, 1, 2, 3]
    assert counts.min() > 420  # of 500 expected
    assert {type(factor) for factor in draws} == {int}


@pytest.mark.parametrize("name", ["VerticalFlip", "Transpose", "RandomRotate90"])
def test_exact_ops_travel(check_travels, name):
    check_travels(getattr(ops, name)())


@pytest.mark.parametrize(
    ("element", "move"),
    [
        ("e", lambda a: a),
        ("r90", np.rot90),
        ("r180", lambda a: np.rot90(a, 2)),
        ("r270", lambda a: np.rot90(a, 3)),
        ("h", lambda a: a[:, ::-1]),
        ("v", lambda a: a[::-1]),
        ("t", lambda a: a.transpose(1, 0, 2)),
        ("hvt", lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
    ],
)
def test_d4_is_the_symmetry_that_it_names(make_pixels, apply, element, move):
    src = make_pixels((5, 8, 3))
    np.testing.assert_array_equal(apply(ops.D4(), src, {"group_element": element}), move(src))


def test_d4_draws_each_symmetry_as_often():
    rng, frame = np.random.default_rng(0), Frame(5, 8, 3, "uint8")
    drawn = [ops.D4().sample_params(rng, frame)["group_element"] for _ in range(1600)]
    assert set(drawn) == {"e", "r90", "r180", "r270", "h", "v", "t", "hvt"}
    assert all(150 < drawn.count(element) < 250 for element in set(drawn))
