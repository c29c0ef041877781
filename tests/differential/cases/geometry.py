"""Ops that move pixels by maps of their own."""

import random

import numpy as np

from kaleidoscope import ops
from kaleidoscope.ops.base import Geometric
from kaleidoscope.record import Frame

#: Of the image.
FRAME = Frame(96, 128, 3, "uint8")
#: What the generators of a pipeline are seeded with, where a row says nothing else.
SEED = 7


def steps(limit, count):
    def drawn(theirs, frame):
        rng = random.Random(SEED)  # noqa: S311 - theirs draws from one
        return {name: [1 + rng.uniform(*limit) for _ in range(count + 1)] for name in ("steps_x", "steps_y")}

    return drawn


def tiles(drawn, frame):
    """Return what theirs says by the corners of all tiles, y before x, and where each goes."""
    boxes = np.array(drawn["tiles"])
    sides = {}
    for name, axis in (("rows", 0), ("columns", 1)):
        cuts = sorted({*boxes[:, axis].tolist(), *boxes[:, axis + 2].tolist()})
        sides[name] = np.diff(cuts).tolist()
    return {**sides, "mapping": drawn["mapping"]}


def told(op, drawn, **more):
    """Return a row in which theirs is told the map of ours, so that everything but the map is compared."""
    if isinstance(op, Geometric):
        matrix = op.matrix(FRAME, drawn)
        to_edges = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        edges = to_edges @ matrix @ np.linalg.inv(to_edges)
        size = {"max_height": FRAME.height, "max_width": FRAME.width}
        arrays = {"matrix": matrix, "bbox_matrix": edges, "matrix_bbox": edges}
    else:
        size = {}
        arrays = dict(zip(("map_x", "map_y"), op.places(FRAME.height, FRAME.width, drawn), strict=True))
    forced = {**size, **{name: {"array": array.tolist()} for name, array in arrays.items()}}
    return {"given": op.settings(), "forced": forced, "drawn": drawn, **more}


#: Theirs puts the middle of an image half a pixel beside it, by which an image without details changes little, and a
#: mask at the edges of its classes; and keypoints of distortions on whole pixels.
ASIDE = {"image": "smooth", "mean": 4.5, "share": 0.5, "pixels": 2.0, "mask": 0.97}
#: Theirs paints keypoints of distortions as discs, and takes the uppermost pixel of what becomes of each.
DISCS = {"pixels": 2.0}
#: By its other method it loses keypoints now and then.
DIRECT = {"keypoint_remapping_method": "direct"}

CASES = {
    "D4": [
        {"forced": {"group_element": name}, "drawn": {"group_element": name}}
        for name in ("e", "r90", "r180", "r270", "v", "hvt", "h", "t")
    ],
    "ShiftScaleRotate": [
        {
            "given": {
                "shift_limit": (0.1, 0.1),
                "scale_limit": (0.2, 0.2),
                "rotate_limit": (25, 25),
                "border_mode": "reflect_101",
            },
            "converted": {"shift_limit": (-0.0625, 0.0625), "shift_limit_x": (0.1, 0.1), "shift_limit_y": (0.1, 0.1)},
        },
        {
            "given": {
                "shift_limit_x": (0.1, 0.1),
                "shift_limit_y": (-0.05, -0.05),
                "scale_limit": (-0.3, -0.3),
                "rotate_limit": (-60, -60),
                "fill_mask": 77,
            }
        },
    ],
    "SafeRotate": [{"given": {"limit": (angle, angle)}, **ASIDE} for angle in (15, -60, 90)]
    + [told(ops.SafeRotate(limit=(-60, -60), fill_mask=77), {"angle": -60})],
    # Theirs does not take what it draws to where it says (see the notes of ours), here and in ThinPlateSpline.
    "Perspective": [
        told(ops.Perspective(fit_output=True, fill_mask=77), {"corners": [[0.1, 0], [0.05, 0.1], [0, 0.1], [0.1, 0.1]]})
    ],
    "GridDistortion": [
        {"given": {"distort_limit": (-0.3, 0.3)}, "drawn": steps((-0.3, 0.3), 5), "theirs": DIRECT, **ASIDE},
        {
            "given": {"num_steps": 4, "distort_limit": (-0.2, 0.2), "normalized": False, "border_mode": "reflect_101"},
            "drawn": steps((-0.2, 0.2), 4),
            "theirs": DIRECT,
            **ASIDE,
        },
        told(
            ops.GridDistortion(normalized=False, fill_mask=77),
            {"steps_x": [1.2, 0.8, 1.1, 1.2, 1.0, 1.1], "steps_y": [0.7, 1.2, 1.3, 0.9, 1.2, 1.0]},
            **DISCS,
        ),
    ],
    "OpticalDistortion": [
        {"given": {"distort_limit": (k, k), "mode": mode}, "theirs": DIRECT, **ASIDE, "mask": least}
        for k in (0.05, -0.3)
        for mode, least in (("camera", 0.97), ("fisheye", 0.99))
    ]
    + [told(ops.OpticalDistortion(fill_mask=77), {"k": 0.3}, **DISCS)],
    "ThinPlateSpline": [
        told(
            ops.ThinPlateSpline(num_control_points=2, fill_mask=77),
            {"shifts": [[-0.02, 0.03], [0.04, 0], [0, -0.03], [0.02, 0.02], [0.05, 0.04]]},
            **DISCS,
        )
    ],
    # A box whose parts went apart is that of all of them; theirs makes a box of each.
    "RandomGridShuffle": [{"given": {"grid": (3, 4)}, "drawn": tiles, "boxes": False}],
    # Theirs bends borders many times as much; elsewhere a point goes by a pixel or two, in either, and edges of a mask.
    "ElasticTransform": [
        {
            "given": {"alpha": 120, "sigma": 6, "border_mode": "reflect_101"},
            "by": "statistics",
            "spread": 0.1,
            "pixels": 5.0,
            "mask": 0.93,
        },
        told(ops.ElasticTransform(alpha=120, sigma=6, fill_mask=77), {"seed": 7}, **DISCS),
    ],
}
