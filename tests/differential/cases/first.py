"""The ops that everybody uses first."""

BOTH = ("uint8", "float32")


def corner(drawn, frame):
    """Return where the window begins: theirs counts from the corner of the padded image."""
    padded = drawn["pad_params"] or {"pad_left": 0, "pad_top": 0}
    left, top = drawn["crop_coords"][:2]
    return {"left": left - padded["pad_left"], "top": top - padded["pad_top"]}


CASES = {
    "HorizontalFlip": [{}],
    "VerticalFlip": [{}],
    "Transpose": [{}],
    "RandomRotate90": [{"forced": {"factor": n}, "drawn": {"factor": n}} for n in range(4)],
    "Rotate": [
        {"given": {"limit": (20, 20), "fill_mask": 77}},
        {"given": {"limit": (-75, -75), "interpolation": "nearest", "border_mode": "replicate"}},
        {"given": {"limit": (33, 33), "interpolation": "cubic", "border_mode": "reflect_101"}},
        {"given": {"limit": (20, 20), "fill": (10, 200, 90), "rotate_method": "ellipse"}},
        {"given": {"limit": (40, 40), "mask_interpolation": "linear"}},
        # No crop_border: ours holds no pixel of the border, theirs is up to a pixel larger, and half a pixel beside.
    ],
    "Affine": [
        {"given": {"scale": (0.8, 0.8), "rotate": (15, 15), "shear": (5, 5), "fill_mask": 77}},
        {"given": {"scale": {"x": (1.2, 1.2), "y": (0.9, 0.9)}, "translate_px": {"x": (7, 7), "y": (-5, -5)}}},
        {"given": {"translate_percent": {"x": (0.1, 0.1), "y": (-0.1, -0.1)}, "border_mode": "wrap"}},
        # No fit_output: theirs is a pixel or two larger than the outcome, and its middle elsewhere.
        {"given": {"rotate": (-40, -40), "scale": (1.3, 1.3), "interpolation": "cubic"}},
        {"given": {"scale": (0.5, 0.5), "keep_ratio": True, "rotate": (90, 90), "rotate_method": "ellipse"}},
    ],
    "CenterCrop": [
        {"given": {"height": 60, "width": 71}},
        {"given": {"height": 121, "width": 150, "pad_if_needed": True, "fill": 128, "fill_mask": 77}},
        {"given": {"height": 121, "width": 50, "pad_if_needed": True, "border_mode": "reflect_101"}},
    ],
    "RandomCrop": [
        {"given": {"height": 50, "width": 64}, "drawn": corner},
        {"given": {"height": 120, "width": 64, "pad_if_needed": True, "fill_mask": 77}, "drawn": corner},
    ],
    "Pad": [
        {"given": {"padding": 9, "fill": (1, 2, 3), "fill_mask": 77}},
        {"given": {"padding": (3, 8), "border_mode": "reflect"}},
        {"given": {"padding": (0, 5, 11, 2), "border_mode": "replicate"}},
    ],
    "HueSaturationValue": [
        # Theirs rounds hues to two degrees on the way, for floats, too.
        {
            "given": {"hue_shift_limit": hue, "sat_shift_limit": sat, "val_shift_limit": val},
            "dtypes": BOTH,
            "share": 0.98,
        }
        for hue, sat, val in [
            ((15, 15), (0, 0), (0, 0)),
            ((0, 0), (25, 25), (-15, -15)),
            ((-60, -60), (-30, -30), (9, 9)),
        ]
    ],
    "RandomBrightnessContrast": [
        {"given": {"brightness_limit": (0.15, 0.15), "contrast_limit": (-0.3, -0.3)}, "dtypes": BOTH},
        {"given": {"brightness_limit": (-0.2, -0.2), "contrast_limit": (0.4, 0.4), "brightness_by_max": False}},
        {"given": {"brightness_limit": (0.2, 0.2), "contrast_limit": (0.2, 0.2), "ensure_safe_range": True}},
    ],
    "GaussianBlur": [{"given": {"sigma_limit": (sigma, sigma)}, "dtypes": BOTH} for sigma in (0.5, 1.5, 3.0)]
    + [{"given": {"blur_limit": (5, 5), "sigma_limit": (1.2, 1.2)}}],
    "MedianBlur": [{"given": {"blur_limit": (size, size)}} for size in (3, 7)],
    "GaussNoise": [
        {"given": {"std_range": (0.1, 0.1), "mean_range": (0.02, 0.02)}, "by": "statistics", "dtypes": BOTH},
        {"given": {"std_range": (0.2, 0.2), "per_channel": False}, "by": "statistics"},
    ],
    "Normalize": [
        {},
        {"theirs": {"max_pixel_value": 1.0}, "dtypes": ("float32",)},  # they take floats for bytes
        {"given": {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "max_pixel_value": 200.0}},
        *(
            {"given": {"normalization": how}}
            for how in ("image", "image_per_channel", "min_max", "min_max_per_channel")
        ),
    ],
}
