"""Ops that add noise, lose detail and leave holes."""

BOTH = ("uint8", "float32")


def holes(drawn, frame):
    return {"holes": [[int(at) for at in hole] for hole in drawn["holes"]]}


CASES = {
    "CoarseDropout": [
        {"drawn": holes},
        {
            "given": {
                "num_holes_range": (3, 5),
                "hole_height_range": (5, 20),
                "hole_width_range": (0.1, 0.4),
                "fill": 99,
            },
            "drawn": holes,
        },
    ],
    "Erasing": [{"drawn": holes}, {"given": {"scale": (0.1, 0.2), "fill": (1, 2, 3)}, "seed": 8, "drawn": holes}],
    # Of cells of equal size: where they cannot be, chance says which are larger.
    "GridDropout": [
        {"given": {"holes_number_xy": (4, 4), "random_offset": False}},
        {"given": {"holes_number_xy": (8, 4), "random_offset": False, "ratio": 0.3, "shift_xy": (2, 3), "fill": 50}},
    ],
    "Downscale": [
        {"given": {"scale_range": (0.25, 0.25)}},
        {
            "given": {
                "scale_range": (0.5, 0.5),
                "interpolation_pair": {"downscale": "area", "upscale": "linear"},
            }
        },
    ],
    "ImageCompression": [
        {"given": {"quality_range": (40, 40)}, "dtypes": BOTH},
        {"given": {"quality_range": (20, 20), "compression_type": "webp"}},
    ],
    "ISONoise": [
        {"given": {"color_shift": (0.03, 0.03), "intensity": (0.3, 0.3)}, "by": "statistics", "dtypes": BOTH},
    ],
    "ShotNoise": [{"given": {"scale_range": (0.2, 0.2)}, "by": "statistics", "dtypes": BOTH}],
    "MultiplicativeNoise": [
        {"given": {"multiplier": (1.3, 1.3)}, "dtypes": BOTH},
        {
            "given": {"multiplier": (0.5, 1.5), "per_channel": True},
            "drawn": lambda drawn, frame: {"factors": drawn["multiplier"]},
        },
        {"given": {"multiplier": (0.5, 1.5), "elementwise": True}, "by": "statistics"},
        {"given": {"multiplier": (0.5, 1.5), "elementwise": True, "per_channel": True}, "by": "statistics"},
    ],
}
