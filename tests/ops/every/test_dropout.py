"""The published suite, for the ops that fill holes. Of what is in the middle of the scene they hide little."""

from kaleidoscope import ops
from kaleidoscope.record import Frame
from kaleidoscope.testing import OpTests

#: So large that marks and holes do not meet by chance.
SCENE = Frame(200, 280, 3, "uint8")


class TestCoarseDropout(OpTests):
    scene = SCENE
    instances = (
        ops.CoarseDropout(hole_height_range=(1, 3), hole_width_range=(0.01, 0.03)),
        ops.CoarseDropout((2, 4), (1, 2), (1, 2), fill="random"),
        ops.CoarseDropout((2, 4), (1, 2), (1, 2), fill="random_uniform", fill_mask=3),
        ops.CoarseDropout((1, 2), (1, 2), (1, 3), fill="inpaint_telea"),
        ops.CoarseDropout((1, 2), (1, 2), (1, 3), fill="inpaint_ns"),
        ops.CoarseDropout((3, 5), (0.02, 0.05), (4, 9), fill=1, fill_mask=0),
    )
    identity = tuple((ops.CoarseDropout(fill=fill), {"holes": [], "seed": 1}) for fill in (0, "random", "inpaint_ns"))


class TestErasing(OpTests):
    scene = SCENE
    instances = (
        ops.Erasing(scale=(0.0005, 0.002)),
        ops.Erasing(scale=0.001, ratio=(0.5, 1), fill="random"),
        ops.Erasing(scale=0.001, ratio=(0.5, 1), fill="inpaint_telea", fill_mask=2),
    )
    identity = ((ops.Erasing(), {"holes": []}),)


class TestGridDropout(OpTests):
    scene = SCENE
    instances = (
        ops.GridDropout(ratio=0.2, random_offset=False, shift_xy=(19, 13)),
        ops.GridDropout(ratio=0.1, fill="random_uniform", fill_mask=200),
        ops.GridDropout(ratio=0.04, unit_size_range=(30, 40), fill=1, fill_mask=0),
        ops.GridDropout(ratio=0.05, holes_number_xy=(3, 2), fill="random"),
    )

    def takes(self, op, frame):
        if op.holes_number_xy:
            return frame.width >= 2 * op.holes_number_xy[0] and frame.height >= 2 * op.holes_number_xy[1]
        return op.unit_size_range is None or min(frame.width, frame.height) >= op.unit_size_range[1]


class TestMaskDropout(OpTests):
    instances = (
        ops.MaskDropout(),
        ops.MaskDropout(3, fill=1, fill_mask=5),
        ops.MaskDropout((1, 2), fill="inpaint_ns", fill_mask=None),
    )
    identity = ((ops.MaskDropout(), {"holes": []}),)
