"""Ops that move pixels by maps of their own."""

import random

import numpy as np

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


#: Theirs puts the middle of an image half a pixel beside it, by which an image without details changes little; and
#: keypoints of distortions on whole pixels.
ASIDE = {"image": "smooth", "mean": 4.5, "share": 0.5, "pixels": 2.0}
#: By its other method it loses keypoints now and then.
DIRECT = {"keypoint_remapping_method": "direct"}

# No Perspective and no ThinPlateSpline: theirs does not take what it draws to where it says (see the notes of ours).
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
            }
        },
    ],
    "SafeRotate": [{"given": {"limit": (angle, angle)}, **ASIDE} for angle in (15, -60, 90)],
    "GridDistortion": [
        {"given": {"distort_limit": (-0.3, 0.3)}, "drawn": steps((-0.3, 0.3), 5), "theirs": DIRECT, **ASIDE},
        {
            "given": {"num_steps": 4, "distort_limit": (-0.2, 0.2), "normalized": False, "border_mode": "reflect_101"},
            "drawn": steps((-0.2, 0.2), 4),
            "theirs": DIRECT,
            **ASIDE,
        },
    ],
    "OpticalDistortion": [
        {"given": {"distort_limit": (k, k), "mode": mode}, "theirs": DIRECT, **ASIDE}
        for k in (0.05, -0.3)
        for mode in ("camera", "fisheye")
    ],
    # A box whose parts went apart is that of all of them; theirs makes a box of each.
    "RandomGridShuffle": [{"given": {"grid": (3, 4)}, "drawn": tiles, "boxes": False}],
    # Theirs bends borders many times as much; elsewhere a point goes by a pixel or two, in either.
    "ElasticTransform": [
        {
            "given": {"alpha": 120, "sigma": 6, "border_mode": "reflect_101"},
            "by": "statistics",
            "spread": 0.1,
            "pixels": 5.0,
        }
    ],
}
