"""Ops that smooth, smear and sharpen."""

BOTH = ("uint8", "float32")

CASES = {
    "Blur": [{"given": {"blur_limit": (size, size)}, "dtypes": BOTH} for size in (3, 7)],
    "MotionBlur": [
        {
            "given": {
                "blur_limit": (size, size),
                "angle_range": (angle, angle),
                "direction_range": (direction, direction),
                "allow_shifted": False,
            },
            "dtypes": BOTH,
        }
        for size, angle, direction in ((7, 30, 0.0), (9, 90, 0.5), (5, 200, -1.0))
    ],
    "Defocus": [{"given": {"radius": (size, size), "alias_blur": (0.3, 0.3)}, "dtypes": BOTH} for size in (3, 6)],
    "ZoomBlur": [{"given": {"max_factor": (1.2, 1.2), "step_factor": (0.02, 0.02)}, "dtypes": BOTH}],
    "GlassBlur": [{"given": {"sigma": 0.7, "max_delta": 3}, "by": "statistics", "mean": 2.0}],
    "Sharpen": [
        {"given": {"alpha": (0.4, 0.4), "lightness": (0.8, 0.8)}, "dtypes": BOTH},
        # Of floats only: theirs subtracts bytes, and where the outcome is negative it is 256 too much.
        {
            "given": {"alpha": (0.4, 0.4), "method": "gaussian", "kernel_size": 5, "sigma": 1.0},
            "dtypes": ("float32",),
        },
    ],
    "UnsharpMask": [
        {"given": {"blur_limit": (5, 5), "sigma_limit": (1.0, 1.0), "alpha": (0.5, 0.5)}, "dtypes": BOTH},
        {"given": {"blur_limit": (7, 7), "alpha": (0.3, 0.3), "threshold": 0}},
    ],
    "Emboss": [{"given": {"alpha": (0.4, 0.4), "strength": (0.6, 0.6)}, "dtypes": BOTH}],
}
