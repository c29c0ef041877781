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
