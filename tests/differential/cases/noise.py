"""Ops that add noise, lose detail and leave holes."""

import numpy as np

from kaleidoscope import ops

BOTH = ("uint8", "float32")
#: Of the image.
HEIGHT, WIDTH = 96, 128


def holes(drawn, frame):
    return {"holes": [[int(at) for at in hole] for hole in drawn["holes"]]}


def dropped(share, seed):
    """Return what theirs is told of the pixels that ours drops. By itself it draws others of the mask."""
    places = ops.PixelDropout(dropout_prob=share).places(HEIGHT, WIDTH, 1, {"seed": seed})
    which = np.isin(np.arange(HEIGHT * WIDTH), places).reshape(HEIGHT, WIDTH)
    return {"drop_mask": which[..., np.newaxis], "mask_drop_mask": which}


def objects(drawn, frame):
    """Return holes of one pixel each: theirs says by a mask which objects it drops."""
    return {"holes": [[x, y, x + 1, y + 1] for y, x in np.argwhere(drawn["dropout_mask"]).tolist()]}


#: Theirs draws boxes as pixels and reads them back, a pixel smaller; and cuts off what a hole hides at an edge.
BOXES = {"pixels": 1.0}

CASES = {
    "CoarseDropout": [
        {"drawn": holes, **BOXES},
        {
            "given": {
                "num_holes_range": (3, 5),
                "hole_height_range": (5, 20),
                "hole_width_range": (10, 40),
                "fill": 99,
                "fill_mask": 77,
            },
            "drawn": holes,
            **BOXES,
        },
    ],
    "Erasing": [
        {"drawn": holes, **BOXES},
        {"given": {"scale": (0.1, 0.2), "fill": (1, 2, 3), "fill_mask": 77}, "seed": 8, "drawn": holes, **BOXES},
    ],
    # Of cells of equal size: where they cannot be, chance says which are larger.
    "GridDropout": [
        {"given": {"holes_number_xy": (4, 4), "random_offset": False}, **BOXES},
        {
            "given": {
                "holes_number_xy": (8, 4),
                "random_offset": False,
                "ratio": 0.3,
                "shift_xy": (2, 3),
                "fill": 50,
                "fill_mask": 77,
            },
            "theirs": {"holes_number_xy": (4, 8)},  # which it takes for rows and columns
            **BOXES,
        },
    ],
    # Theirs drops boxes of which nothing is left.
    "MaskDropout": [
        {"given": {"fill": 9, "fill_mask": 77}, "drawn": objects, "boxes": False},
        {"given": {"max_objects": (2, 3)}, "drawn": objects, "boxes": False},
    ],
    # Not by nearest: ours takes the middle of what a new pixel covers, theirs its corner.
    "Downscale": [
        {
            "given": {
                "scale_range": (0.5, 0.5),
                "interpolation_pair": {"downscale": "area", "upscale": "linear"},
            }
        },
    ],
    # In grey: theirs hands RGB to OpenCV as BGR, so that red is coded as blue would be.
    "ImageCompression": [
        {"given": {"quality_range": (40, 40)}, "image": "grey", "dtypes": BOTH},
        {"given": {"quality_range": (20, 20), "compression_type": "webp"}, "image": "grey"},
    ],
    # Without a shift of hues: theirs takes fractions of a turn for degrees.
    "ISONoise": [
        {"given": {"color_shift": (0, 0), "intensity": (0.3, 0.3)}, "by": "statistics", "dtypes": BOTH},
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
    "PixelDropout": [
        {"given": {"dropout_prob": 0.2, "drop_value": 40}, "by": "statistics"},
        {"given": {"dropout_prob": 0.2, "per_channel": True}, "by": "statistics"},
        {
            "given": {"dropout_prob": 0.2, "mask_drop_value": 77},
            "forced": {name: {"array": at.tolist()} for name, at in dropped(0.2, seed=7).items()},
            "drawn": {"seed": 7},
        },
    ],
    "SaltAndPepper": [
        {"given": {"amount": (0.1, 0.1), "salt_vs_pepper": (0.3, 0.3)}, "by": "statistics", "dtypes": BOTH},
    ],
}
