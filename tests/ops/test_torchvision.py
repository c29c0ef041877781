"""Stand-ins of torchvision's names and attributes, as its source of 0.20 has them; itself it would bring torch."""

import enum
import math

import numpy as np
import pytest

from kaleidoscope import ops, registry
from kaleidoscope.errors import RecipeError
from kaleidoscope.record import Frame

V2 = "torchvision.transforms.v2._somewhere"


class Mode(enum.Enum):
    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    HAMMING = "hamming"


def tv(name, *, module=V2, **attributes):
    """Return an object of a class of that name, with these attributes."""
    return type(name, (), {"__module__": module, **attributes})()


def rotation(**other):
    rest = {"degrees": [-15.0, 15.0], "interpolation": Mode.BILINEAR, "expand": False, "center": None, "fill": 0}
    return tv("RandomRotation", **{**rest, **other})


def affine(**other):
    rest = {"degrees": [0.0, 0.0], "translate": None, "scale": None, "shear": None, "interpolation": Mode.BILINEAR}
    return tv("RandomAffine", **{**rest, "fill": 0, "center": None, **other})


def crop(**other):
    rest = {"size": (50, 60), "padding": None, "pad_if_needed": False, "fill": 0, "padding_mode": "constant"}
    return tv("RandomCrop", **{**rest, **other})


FLIP = tv("RandomHorizontalFlip", p=1.0)
NOISE = tv("GaussianNoise", mean=0.0, sigma=0.1, clip=True)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (tv("RandomHorizontalFlip", p=0.5), ops.Sometimes(ops.HorizontalFlip(), 0.5)),
        (tv("RandomVerticalFlip", p=1.0), ops.VerticalFlip()),
        (tv("CenterCrop", size=(40, 50)), ops.CenterCrop(40, 50, pad_if_needed=True)),
        (tv("GaussianBlur", kernel_size=(5, 5), sigma=[0.1, 2.0]), ops.GaussianBlur((5, 5), (0.1, 2.0))),
        (NOISE, ops.GaussNoise((0.1, 0.1), (0.0, 0.0))),
        (tv("Normalize", mean=[0.5, 0.4, 0.3], std=[0.2] * 3), ops.Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))),
        (tv("Pad", padding=[3], fill=7, padding_mode="constant"), ops.Pad(3, fill=7, fill_mask=7)),
        (
            tv("Pad", padding=[1, 2, 3, 4], fill=0, padding_mode="symmetric"),
            ops.Pad((1, 2, 3, 4), border_mode="reflect"),
        ),
        (crop(), ops.RandomCrop(50, 60)),
        (
            crop(pad_if_needed=True, padding_mode="reflect"),
            ops.RandomCrop(50, 60, pad_if_needed=True, pad_position="random", border_mode="reflect_101"),
        ),
        (crop(padding=4, fill=9), ops.Sequential(ops.Pad(4, fill=9, fill_mask=9), ops.RandomCrop(50, 60))),
        (rotation(), ops.Rotate((-15, 15))),
        (rotation(interpolation=Mode.NEAREST_EXACT), ops.Rotate((-15, 15), interpolation="nearest")),
        (rotation(expand=True), ops.Affine(rotate=(-15, 15), fit_output=True)),
        (affine(degrees=[-10.0, 20.0]), ops.Affine(rotate=(-20, 10))),
        (
            affine(translate=(0.1, 0.2), scale=(0.5, 2.0)),
            ops.Affine(scale=(0.5, 2), keep_ratio=True, translate_percent={"x": (-0.1, 0.1), "y": (-0.2, 0.2)}),
        ),
    ],
    ids=lambda one: type(one).__name__,
)
def test_transform_becomes_an_op(transform, expected):
    assert ops.from_torchvision(transform) == expected


@pytest.mark.parametrize(
    ("name", "attributes", "ours", "settings"),
    [
        (
            "ColorJitter",
            {"brightness": (0.5, 1.5), "contrast": None, "saturation": None, "hue": (-0.1, 0.1)},
            "ColorJitter",
            {"brightness": (0.5, 1.5), "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": (-0.1, 0.1)},
        ),
        ("Grayscale", {"num_output_channels": 3}, "ToGray", {"num_output_channels": 3}),
        ("RandomGrayscale", {"p": 1.0}, "ToGray", {"num_output_channels": 3}),
        ("JPEG", {"quality": [20, 80]}, "ImageCompression", {"quality_range": (20, 80)}),
        ("RandomAutocontrast", {"p": 1.0}, "AutoContrast", {"method": "pil"}),
        ("RandomChannelPermutation", {}, "ChannelShuffle", {}),
        ("RandomEqualize", {"p": 1.0}, "Equalize", {"mode": "pil"}),
        (
            "RandomErasing",
            {"p": 1.0, "scale": (0.02, 0.3), "ratio": (0.3, 3.3), "value": [0.0]},
            "Erasing",
            {"scale": (0.02, 0.3), "ratio": (0.3, 3.3), "fill": 0.0},
        ),
        (
            "RandomErasing",
            {"p": 1.0, "scale": (0.02, 0.3), "ratio": (0.3, 3.3), "value": None},
            "Erasing",
            {"scale": (0.02, 0.3), "ratio": (0.3, 3.3), "fill": "random"},
        ),
        ("RandomInvert", {"p": 1.0}, "InvertImg", {}),
        ("RandomPosterize", {"p": 1.0, "bits": 3}, "Posterize", {"num_bits": (3, 3)}),
        (
            "RandomResizedCrop",
            {"size": (50, 60), "scale": (0.1, 1.0), "ratio": (0.75, 1.33), "interpolation": Mode.BILINEAR},
            "RandomResizedCrop",
            {"size": (50, 60), "scale": (0.1, 1.0), "ratio": (0.75, 1.33), "area_for_downscale": "image"},
        ),
        ("RandomSolarize", {"p": 1.0, "threshold": 192.0}, "Solarize", {"threshold_range": (192 / 255, 192 / 255)}),
        ("RandomSolarize", {"p": 1.0, "threshold": 0.5}, "Solarize", {"threshold_range": (0.5, 0.5)}),
    ],
)
def test_transform_becomes_the_op_of_another_name(name, attributes, ours, settings):
    transform = tv(name, **attributes)
    if ours not in registry.op_names():
        with pytest.raises(RecipeError, match=f"no op for {name}:"):
            ops.from_torchvision(transform)
    else:
        assert ops.from_torchvision(transform) == getattr(ops, ours)(**settings)


class TestResize:
    def test_to_height_and_width(self):
        smooth = tv("Resize", size=[40, 50], interpolation=Mode.BILINEAR, max_size=None, antialias=True)
        assert ops.from_torchvision(smooth) == ops.Resize(40, 50, area_for_downscale="image")
        rough = tv("Resize", size=[40, 50], interpolation=Mode.BICUBIC, max_size=None, antialias=False)
        assert ops.from_torchvision(rough) == ops.Resize(40, 50, interpolation="cubic")
        nearest = tv("Resize", size=[40, 50], interpolation=Mode.NEAREST, max_size=None, antialias=True)
        assert ops.from_torchvision(nearest) == ops.Resize(40, 50, interpolation="nearest")

    @pytest.mark.parametrize(
        ("size", "most", "ours"),
        [([40], None, "SmallestMaxSize"), (40, None, "SmallestMaxSize"), (None, 40, "LongestMaxSize")],
    )
    def test_of_one_side(self, size, most, ours):
        transform = tv("Resize", size=size, interpolation=Mode.BILINEAR, max_size=most, antialias=True)
        if ours not in registry.op_names():
            with pytest.raises(RecipeError, match="Resize wants a height and a width"):
                ops.from_torchvision(transform)
        else:
            expected = getattr(ops, ours)(max_size=40, area_for_downscale="image")
            assert ops.from_torchvision(transform) == expected

    def test_of_both_sides_is_refused(self):
        transform = tv("Resize", size=[40], interpolation=Mode.BILINEAR, max_size=60, antialias=True)
        with pytest.raises(RecipeError, match="max_size=60"):
            ops.from_torchvision(transform)


class TestFill:
    def test_of_all_channels_is_that_of_masks(self):
        assert ops.from_torchvision(rotation(fill=5)) == ops.Rotate((-15, 15), fill=5, fill_mask=5)
        assert ops.from_torchvision(rotation(fill=None)) == ops.Rotate((-15, 15))

    def test_of_each_channel_is_not(self):
        assert ops.from_torchvision(rotation(fill=[1, 2, 3])) == ops.Rotate((-15, 15), fill=(1, 2, 3))

    def test_of_types(self):
        image, mask = type("Image", (), {}), type("Mask", (), {})
        made = ops.from_torchvision(rotation(fill={image: [1, 2, 3], mask: 4}))
        assert made == ops.Rotate((-15, 15), fill=(1, 2, 3), fill_mask=4)
        assert ops.from_torchvision(rotation(fill={"others": 6})) == ops.Rotate((-15, 15), fill=6, fill_mask=6)


class TestAffine:
    def test_shear_comes_before_rotation(self):
        """As in the matrix that torchvision documents: T C R S Sh C^-1."""
        part = ops.from_torchvision(
            affine(degrees=[20.0, 20.0], scale=(1.5, 1.5), shear=[10.0, 10.0, -5.0, -5.0], translate=(0.0, 0.0))
        )
        frame, made = Frame(101, 201, 3, "uint8"), np.eye(3)
        for op in part.parts:
            made = op.matrix(frame, op.sample_params(np.random.default_rng(), frame)) @ made
        turn, across, down = math.radians(20), math.radians(10), math.radians(-5)
        expected = 1.5 * np.array(
            [
                [
                    math.cos(turn - down) / math.cos(down),
                    -math.cos(turn - down) * math.tan(across) / math.cos(down) - math.sin(turn),
                ],
                [
                    math.sin(turn - down) / math.cos(down),
                    -math.sin(turn - down) * math.tan(across) / math.cos(down) + math.cos(turn),
                ],
            ]
        )
        assert np.allclose(made[:2, :2], expected)
        assert np.allclose(made @ [100, 50, 1], [100, 50, 1]), "about the middle"

    def test_shear_of_one_axis(self):
        part = ops.from_torchvision(affine(shear=[-10.0, 10.0], interpolation=Mode.NEAREST))
        how = {"interpolation": "nearest"}
        assert part == ops.Sequential(ops.Affine(shear={"x": (-10, 10)}, **how), ops.Affine(**how))

    def test_other_centres_are_refused(self):
        for one in (affine(center=[0, 0]), rotation(center=[0, 0])):
            with pytest.raises(RecipeError, match=r"center=\[0, 0\]"):
                ops.from_torchvision(one)


class TestContainers:
    def test_compose_is_one_variant(self):
        part = ops.from_torchvision(tv("Compose", transforms=[FLIP, NOISE]))
        assert part == ops.Sequential(ops.HorizontalFlip(), ops.GaussNoise(0.1))

    def test_of_torch_itself(self):
        kind = type("Sequential", (list,), {"__module__": "torch.nn.modules.container"})
        assert ops.from_torchvision(kind([FLIP])) == ops.Sequential(ops.HorizontalFlip())

    def test_of_nothing(self):
        assert ops.from_torchvision(tv("Compose", transforms=[])) == ops.Sequential()

    def test_random_apply_is_sometimes(self):
        part = ops.from_torchvision(tv("RandomApply", transforms=[FLIP, NOISE], p=0.3))
        assert part == ops.Sometimes(ops.Sequential(ops.HorizontalFlip(), ops.GaussNoise(0.1)), 0.3)

    def test_random_choice_is_one_of(self):
        flip, noise = ops.HorizontalFlip(), ops.GaussNoise(0.1)
        assert ops.from_torchvision(tv("RandomChoice", transforms=[FLIP, NOISE], p=[0.5, 0.5])) == ops.OneOf(
            flip, noise
        )
        part = ops.from_torchvision(tv("RandomChoice", transforms=[FLIP, NOISE], p=[0.25, 0.75]))
        assert part == ops.OneOf(flip, noise, weights=(0.25, 0.75))

    def test_conversions_are_left_out(self):
        names = ["ToImage", "ToPureTensor", "ToTensor", "PILToTensor", "ToPILImage", "Identity", "ClampBoundingBoxes"]
        steps = [*map(tv, names), tv("ToDtype", scale=True), tv("SanitizeBoundingBoxes", min_size=1.0)]
        part = ops.from_torchvision(tv("Compose", transforms=[*steps, FLIP]))
        assert part.parts[-1] == ops.HorizontalFlip()
        assert set(part.parts[:-1]) == {ops.Sequential()}


class TestRefusals:
    def test_all_transforms_that_there_are_not_are_named(self):
        mine = type("Mine", (), {"__module__": "my_transforms"})()
        inner = tv("RandomApply", transforms=[tv("RandomZoomOut"), mine], p=0.5)
        with pytest.raises(RecipeError, match=r"no op for RandomZoomOut, my_transforms\.Mine, AugMix:"):
            ops.from_torchvision(tv("Compose", transforms=[FLIP, inner, tv("AugMix"), tv("AugMix")]))

    @pytest.mark.parametrize("given", [None, 3, [FLIP]])
    def test_what_is_no_transform(self, given):
        with pytest.raises(RecipeError, match="no op for builtins"):
            ops.from_torchvision(given)

    @pytest.mark.parametrize(
        ("transform", "said"),
        [
            (tv("ToDtype", scale=False), "scale=False"),
            (tv("GaussianNoise", mean=0.0, sigma=0.1, clip=False), "clip=False"),
            (tv("GaussianBlur", kernel_size=(5, 3), sigma=[1, 1]), r"kernel_size=\(5, 3\)"),
            (tv("SanitizeBoundingBoxes", min_size=8), "min_size=8"),
            (rotation(interpolation=Mode.HAMMING), "interpolation='hamming'"),
        ],
    )
    def test_settings_that_an_op_has_not(self, transform, said):
        with pytest.raises(RecipeError, match=rf"from_torchvision: {type(transform).__name__}\({said}\)"):
            ops.from_torchvision(transform)
