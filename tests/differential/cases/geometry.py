"""Ops that move pixels by maps of their own."""

import random

import numpy as np

#: What the generators of a pipeline are seeded with, where a row says nothing else.
SEED = 7


def python_draws():
    """Return the generator that a transform of theirs draws from: the pipeline around it has drawn once."""
    rng = random.Random(SEED)
    rng.random()
    return rng


def corners(scale):
    return lambda drawn, frame: {
        "corners": np.mod(np.abs(np.random.default_rng(SEED).normal(0, scale, (4, 2))), 0.32).tolist()
    }


def steps(limit, count):
    def drawn(theirs, frame):
        rng = python_draws()
        return {name: [1 + rng.uniform(*limit) for _ in range(count + 1)] for name in ("steps_x", "steps_y")}

    return drawn


def shifts(scale, points):
    def drawn(theirs, frame):
        return {"shifts": np.random.default_rng(SEED).normal(0, scale / 10, (points * points, 2)).tolist()}

    return drawn


def tiles(drawn, frame):
    """Return what theirs says by the corners of all tiles, y before x, and where each goes."""
    boxes = np.array(drawn["tiles"])
    sides = {}
    for name, axis in (("rows", 0), ("columns", 1)):
        cuts = sorted({*boxes[:, axis].tolist(), *boxes[:, axis + 2].tolist()})
        sides[name] = np.diff(cuts).tolist()
    return {**sides, "mapping": drawn["mapping"]}


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
            }
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
    "SafeRotate": [{"given": {"limit": (angle, angle)}} for angle in (15, -60, 90)],
    "Perspective": [
        {"given": {"scale": (0.08, 0.08)}, "drawn": corners(0.08)},
        {"given": {"scale": (0.1, 0.1), "keep_size": False}, "drawn": corners(0.1)},
    ],
    "GridDistortion": [
        {"given": {"distort_limit": (-0.3, 0.3)}, "drawn": steps((-0.3, 0.3), 5)},
        {
            "given": {"num_steps": 4, "distort_limit": (-0.2, 0.2), "normalized": False, "border_mode": "reflect_101"},
            "drawn": steps((-0.2, 0.2), 4),
        },
    ],
    "OpticalDistortion": [
        {"given": {"distort_limit": (k, k), "mode": mode}} for k in (0.05, -0.3) for mode in ("camera", "fisheye")
    ],
    "ThinPlateSpline": [{"given": {"scale_range": (0.3, 0.3)}, "drawn": shifts(0.3, 4)}],
    "RandomGridShuffle": [{"given": {"grid": (3, 4)}, "drawn": tiles}],
    "ElasticTransform": [{"given": {"alpha": 120, "sigma": 6, "border_mode": "reflect_101"}, "by": "statistics"}],
}
