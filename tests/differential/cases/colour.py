"""Ops on colours and tones."""

BOTH = ("uint8", "float32")


def same(*names):
    """Return what passes some of what theirs drew on, as ours calls it the same."""
    return lambda drawn, frame: {name: drawn[name] for name in names}


CASES = {
    "RandomGamma": [{"given": {"gamma_limit": (value, value)}, "dtypes": BOTH} for value in (60, 150)],
    "Solarize": [{"given": {"threshold_range": (value, value)}, "dtypes": BOTH} for value in (0.3, 0.7)],
    "InvertImg": [{"dtypes": BOTH}],
    "Posterize": [
        {"given": {"num_bits": (3, 3)}},
        {"given": {"num_bits": [(2, 2), (4, 4), (6, 6)]}},
    ],
    "RandomToneCurve": [
        {"given": {"scale": 0.3}, "drawn": same("low_y", "high_y"), "dtypes": BOTH},
        {"given": {"scale": 0.2, "per_channel": True}, "drawn": same("low_y", "high_y")},
    ],
    "CLAHE": [
        {"given": {"clip_limit": (3, 3)}},
        # Theirs says rows and columns, and takes columns and rows.
        {"given": {"clip_limit": (6, 6), "tile_grid_size": (4, 6)}, "theirs": {"tile_grid_size": (6, 4)}},
    ],
    "Equalize": [
        {},
        {"given": {"by_channels": False}},
        {"given": {"mode": "pil"}},
    ],
    "AutoContrast": [
        {},
        {"given": {"cutoff": 5, "method": "pil"}},
        {"given": {"cutoff": 5, "method": "cdf"}},
    ],
    # Theirs rounds to 8 bits at each step, and hues to two degrees: for bytes ours is nearer to what floats become.
    "ColorJitter": [
        {"seed": seed, "drawn": same("brightness", "contrast", "saturation", "hue", "order"), **how}
        for seed in (7, 8, 9)
        for how in ({"dtypes": ("float32",)}, {"mean": 2.0, "share": 0.8})
    ],
    "RGBShift": [
        {"given": {"r_shift_limit": (20, 20), "g_shift_limit": (-15, -15), "b_shift_limit": (3, 3)}},
    ],
    "ToSepia": [{"dtypes": BOTH}],
    "PlanckianJitter": [
        {
            "given": {"mode": mode},
            "seed": seed,
            "drawn": same("temperature"),
            "dtypes": BOTH,
            "converted": {"temperature_limit": (coolest, 15000)},  # as theirs fills in
        }
        for mode, coolest in (("blackbody", 3000), ("cied", 4000))
        for seed in (7, 9)
    ],
    "FancyPCA": [{"given": {"alpha": 0.5}, "drawn": same("alpha_vector"), "dtypes": BOTH}],
    "ToGray": [
        {"given": {"method": method}}
        for method in ("weighted_average", "from_lab", "desaturation", "average", "max", "pca")
    ],
    "ChannelShuffle": [{"drawn": same("channels_shuffled")}],
    "ChannelDropout": [
        {
            "given": {"channel_drop_range": (1, 2), "fill": 9},
            "drawn": lambda drawn, frame: {"channels_to_drop": sorted(drawn["channels_to_drop"])},
        },
    ],
    "ToFloat": [{}, {"given": {"max_value": 300.0}}],
    "FromFloat": [{"given": {"dtype": "uint8"}, "dtypes": ("float32",), "converted": {"max_value": 255.0}}],
}
