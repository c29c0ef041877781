"""Ops that cut frames out, put frames around, and choose a size by that of the image."""


def window(drawn, frame):
    left, top, right, bottom = drawn["crop_coords"]
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}


CASES = {
    "LongestMaxSize": [
        {"given": {"max_size": 160}},
        {"given": {"max_size_hw": (50, 90), "interpolation": "cubic"}},
    ],
    "SmallestMaxSize": [
        {"given": {"max_size": 60, "area_for_downscale": "image"}},
        {"given": {"max_size_hw": (120, None)}},
    ],
    # Theirs moves keypoints by the factor, though the image has whole pixels.
    "RandomScale": [{"given": {"scale_limit": (share, share)}, "pixels": 0.7} for share in (-0.3, 0.25)],
    "Crop": [
        {"given": {"x_min": 10, "y_min": 5, "x_max": 90, "y_max": 77}},
        {"given": {"x_min": 0, "y_min": 0, "x_max": 150, "y_max": 110, "pad_if_needed": True, "fill": 30}},
    ],
    "PadIfNeeded": [
        {"given": {"min_height": 120, "min_width": 133}},
        {"given": {"min_height": 120, "min_width": 100, "position": "top_left", "border_mode": "replicate"}},
        {
            "given": {
                "min_height": None,
                "min_width": None,
                "pad_height_divisor": 50,
                "pad_width_divisor": 60,
                "fill": (9, 8, 7),
            }
        },
    ],
    "CropAndPad": [
        {"given": {"px": 5}},
        {"given": {"px": -6, "keep_size": False}},
        {"given": {"px": (4, -5, -6, 7), "border_mode": "replicate"}},
        {"given": {"percent": (0.1, 0.1), "keep_size": False, "fill": 70}},
    ],
    "RandomResizedCrop": [
        {"given": {"size": (50, 60), "scale": (0.3, 0.9)}, "seed": seed, "drawn": window} for seed in (7, 8)
    ],
    "RandomSizedCrop": [{"given": {"min_max_height": (30, 60), "size": (48, 60), "w2h_ratio": 1.25}, "drawn": window}],
    "BBoxSafeRandomCrop": [{"drawn": window}],
}
