import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.backends.moves import Kernel, Warp, moves_of
from kaleidoscope.errors import OpError
from kaleidoscope.randomness import stream
from kaleidoscope.record import Frame

FRAME = Frame(24, 33, 3, "uint8")
FLIP, TURN, BLUR = ops.HorizontalFlip(), ops.Rotate((20, 20)), ops.GaussianBlur()
CROP = ops.CenterCrop(10, 20)


def moves(op, frame=FRAME, seed=0):
    params = op.sample_params(stream(seed, "a.jpg", "node"), frame)
    return list(moves_of(op, params, frame)), params


@pytest.mark.parametrize("op", [FLIP, TURN, ops.Transpose(), ops.Affine(fit_output=True, rotate=30)], ids=repr)
def test_an_op_with_a_matrix_is_one_warp(op):
    (move,), params = moves(op)
    assert isinstance(move, Warp)
    np.testing.assert_array_equal(move.matrix, op.matrix(FRAME, params))
    assert (move.resampling, move.before, move.after) == (op.resampling, FRAME, op.out_frame(FRAME, params))


@pytest.mark.parametrize("op", [BLUR, CROP, ops.Resize(5, 6), ops.Tile(0, 1, 2, 2)], ids=repr)
def test_an_op_with_a_kernel_is_one_kernel(op):
    (move,), params = moves(op)
    assert move == Kernel(op, params, FRAME, op.out_frame(FRAME, params))


def always(*parts):
    return ops.Sometimes(ops.Sequential(*parts), p=1.0)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (ops.Sometimes(TURN, p=0.0), []),
        (always(FLIP, TURN), ["warp"]),
        (always(TURN, FLIP, ops.Rotate((5, 5))), ["warp"]),
        (always(TURN, ops.Rotate((5, 5), border_mode="wrap")), ["warp", "warp"]),
        (always(TURN, ops.Rotate((5, 5), fill_mask=3)), ["warp", "warp"]),
        (always(TURN, BLUR, TURN), ["warp", "kernel", "warp"]),
        (always(FLIP, CROP, FLIP), ["warp", "kernel", "warp"]),
        (always(TURN, ops.Transpose()), ["warp", "warp"]),
        (always(FLIP, ops.OneOf(TURN)), ["warp", "warp"]),
        (ops.SomeOf(FLIP, TURN, BLUR, n=3), ["warp", "kernel"]),
    ],
    ids=repr,
)
def test_a_choice_is_what_was_drawn_and_its_neighbours_are_one_warp(choice, wanted):
    found, params = moves(choice)
    assert [type(move).__name__.lower() for move in found] == wanted
    frames = [FRAME, *(move.after for move in found)]
    assert [move.before for move in found] == frames[:-1]
    assert frames[-1] == choice.out_frame(FRAME, params)


def test_one_warp_is_the_product_of_its_maps():
    (move,), _ = moves(always(FLIP, TURN))
    wanted = TURN.matrix(FRAME, {"angle": 20.0}) @ FLIP.matrix(FRAME, {})
    np.testing.assert_allclose(move.matrix, wanted)
    assert move.resampling == TURN.resampling


def test_what_cannot_be_done_is_refused_before_anything_is():
    with pytest.raises(OpError, match="at least 50x50 pixels"):
        list(moves_of(ops.CenterCrop(50, 50), {"left": 0, "top": 0}, FRAME))
