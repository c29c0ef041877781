"""Ops that cut frames out, put frames around, and make images of other sizes."""


def window(drawn, frame):
    left, top, right, bottom = drawn["crop_coords"]
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}


def resized(*rows):
    """Return rows of ops that resize, each also with theirs told to take the nearest pixel of the mask.

    By itself it takes one up to a whole new pixel to the left of and above the nearest, as the image does not.
    """
    return [
        {**row, **more}
        for row in rows
        for more in ({"mask": 0.96}, {"theirs": {"mask_interpolation": "nearest_exact"}})
    ]


CASES = {
    "Resize": [
        *resized(
            {"given": {"height": 60, "width": 100}},
            {"given": {"height": 130, "width": 181, "interpolation": "cubic"}},
            {"given": {"height": 48, "width": 64, "area_for_downscale": "image"}},
            {"given": {"height": 33, "width": 150, "interpolation": "lanczos4"}},
        ),
        {"given": {"height": 70, "width": 90, "mask_interpolation": "linear"}},
    ],
    "LongestMaxSize": resized(
        {"given": {"max_size": 160}},
        {"given": {"max_size_hw": (50, 90), "interpolation": "cubic"}},
    ),
    "SmallestMaxSize": [
        *resized(
            {"given": {"max_size": 60, "area_for_downscale": "image"}},
            {"given": {"max_size_hw": (120, None)}},
        ),
        {"given": {"max_size": 70, "area_for_downscale": "image_mask"}},
    ],
    # Theirs moves keypoints by the factor, though the image has whole pixels.
    "RandomScale": resized(*({"given": {"scale_limit": (share, share)}, "pixels": 0.7} for share in (-0.3, 0.25))),
    "Crop": [
        {"given": {"x_min": 10, "y_min": 5, "x_max": 90, "y_max": 77}},
        {
            "given": {
                "x_min": 0,
                "y_min": 0,
                "x_max": 150,
                "y_max": 110,
                "pad_if_needed": True,
                "fill": 30,
                "fill_mask": 77,
            }
        },
    ],
    "PadIfNeeded": [
        {"given": {"min_height": 120, "min_width": 133, "fill_mask": 77}},
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
        *resized(
            {"given": {"px": 5, "fill_mask": 77}},
            {"given": {"px": (4, -5, -6, 7), "border_mode": "replicate"}},
        ),
        {"given": {"px": -6, "keep_size": False}},
        {"given": {"percent": (0.1, 0.1), "keep_size": False, "fill": 70, "fill_mask": 77}},
    ],
    "RandomResizedCrop": resized(
        *({"given": {"size": (50, 60), "scale": (0.3, 0.9)}, "seed": seed, "drawn": window} for seed in (7, 8))
    ),
    "RandomSizedCrop": resized(
        {"given": {"min_max_height": (30, 60), "size": (48, 60), "w2h_ratio": 1.25}, "drawn": window}
    ),
    "BBoxSafeRandomCrop": [{"drawn": window}],
    "CropNonEmptyMaskIfExists": [
        {"given": {"height": 30, "width": 40}, "drawn": window},
        {"given": {"height": 9, "width": 7, "ignore_values": [1, 200]}, "seed": 8, "drawn": window},
    ],
}
