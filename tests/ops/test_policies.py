import json
import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from kaleidoscope import ops, tree
from kaleidoscope.backends.follow import follow
from kaleidoscope.backends.moves import Kernel, Warp, moves_of
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops.operations import _Equalize, _Sharpness, draw_operation, params_of
from kaleidoscope.ops.policy_tables import AUTO, LEARNED, MIX, RAND, WIDE
from kaleidoscope.randomness import stream
from kaleidoscope.record import MAX_VALUE, Frame
from kaleidoscope.targets import Targets

DTYPES = ["uint8", "uint16", "float32"]
FRAME = Frame(120, 331, 3, "uint8")
POLICIES = [ops.RandAugment(), ops.TrivialAugmentWide(), ops.AutoAugment()]


def draws(op, count=400, frame=FRAME):
    return [op.sample_params(stream(seed, "a.jpg", "node"), frame) for seed in range(count)]


def step(name, magnitude, frame=FRAME):
    return {"steps": [[name, magnitude, params_of(name, magnitude, frame)]]}


def pillow_affine(image, *inverse):
    return image.transform(image.size, Image.Transform.AFFINE, inverse, Image.Resampling.NEAREST)


#: What Pillow makes of an image by each operation of a magnitude: how the papers and torchvision define them.
BY_PILLOW = {
    "ShearX": lambda image, size: pillow_affine(image, 1, size, 0, 0, 1, 0),
    "ShearY": lambda image, size: pillow_affine(image, 1, 0, 0, size, 1, 0),
    "TranslateX": lambda image, size: pillow_affine(image, 1, 0, -size, 0, 1, 0),
    "TranslateY": lambda image, size: pillow_affine(image, 1, 0, 0, 0, 1, -size),
    "Rotate": lambda image, size: image.rotate(size),
    "Brightness": lambda image, size: ImageEnhance.Brightness(image).enhance(1 + size),
    "Color": lambda image, size: ImageEnhance.Color(image).enhance(1 + size),
    "Contrast": lambda image, size: ImageEnhance.Contrast(image).enhance(1 + size),
    "Sharpness": lambda image, size: ImageEnhance.Sharpness(image).enhance(1 + size),
    "Posterize": lambda image, size: ImageOps.posterize(image, int(size)),
    "Solarize": lambda image, size: ImageOps.solarize(image, 255 * size),
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Invert": lambda image, _: ImageOps.invert(image),
}
MAGNITUDES = [
    *[(name, size) for name in ("ShearX", "ShearY") for size in (0.3, -0.2)],
    *[(name, size) for name in ("TranslateX", "TranslateY") for size in (17, -40)],
    *[("Rotate", size) for size in (30.0, -12.0, 135.0)],
    *[(name, size) for name in ("Brightness", "Color", "Contrast", "Sharpness") for size in (0.9, -0.9, 0.27)],
    *[("Posterize", size) for size in (7, 4, 2)],
    *[("Solarize", size) for size in (1.0, 0.5, 0.0)],
    *[(name, 0.0) for name in ("AutoContrast", "Equalize", "Invert")],
]


@pytest.mark.parametrize(("name", "magnitude"), MAGNITUDES)
def test_operations_are_those_of_pillow(photograph, apply, name, magnitude):
    src = photograph[40:240, 60:391] // 2 + 30  # not of full contrast, for what spreads it
    src = np.ascontiguousarray(src)
    out = apply(ops.AutoAugment(), src, step(name, magnitude, Frame.of(src))).astype(int)
    error = np.abs(out - np.asarray(BY_PILLOW[name](Image.fromarray(src), magnitude)).astype(int))
    # Of geometry by the nearest pixel both round what lies between two; the rest rounds or cuts off.
    assert (error <= 2).mean() > (0.97 if name in {"ShearX", "ShearY", "Rotate"} else 0.9999)
    assert np.abs(out - src).mean() > 1 or (name, magnitude) in {
        ("Posterize", 7),
        ("Solarize", 1.0),
        ("Sharpness", 0.27),
    }


# ---- what the policies draw


def test_spaces_are_those_of_torchvision():
    names = ["ShearX", "TranslateX", "TranslateY", "Rotate", "Color", "Posterize", "Solarize", "Equalize"]
    half = {space: [space.magnitude(name, 0.5, FRAME) for name in names] for space in (RAND, WIDE, AUTO, MIX)}
    assert half[RAND] == half[AUTO] == pytest.approx([0.15, 75.0, 120 * 75 / 331, 15.0, 0.45, 6, 0.5, 0.0])
    assert half[WIDE] == pytest.approx([0.495, 16.0, 16.0, 67.5, 0.495, 5, 0.5, 0.0])
    assert [MIX.magnitude("Posterize", ninths / 9, FRAME) for ninths in (0, 1, 2, 9)] == [4, 4, 3, 0]
    assert [AUTO.magnitude("Posterize", ninths / 9, FRAME) for ninths in range(10)] == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]


def test_randaugment_draws_all_operations_evenly_at_its_strength():
    drawn = draws(ops.RandAugment(num_ops=5, magnitude=9))
    steps = [one for params in drawn for one in params["steps"]]
    counts = Counter(name for name, _, _ in steps)
    assert set(counts) == set(RAND.names)
    assert min(counts.values()) > 0.7 * len(steps) / 14
    assert max(counts.values()) < 1.3 * len(steps) / 14
    sizes = {name: {round(size, 9) for one, size, _ in steps if one == name} for name in counts}
    assert sizes["Rotate"] == {9.0, -9.0}
    assert sizes["TranslateX"] == {45, -45}
    assert sizes["Color"] == {0.27, -0.27}
    assert sizes["Posterize"] == {7}
    assert sizes["Solarize"] == {0.7}
    assert all(len(params["steps"]) == 5 for params in drawn)


def test_trivialaugment_draws_one_operation_of_any_strength():
    steps = [one for params in draws(ops.TrivialAugmentWide(num_magnitude_bins=4), 1500) for one in params["steps"]]
    assert len(steps) == 1500
    assert {name for name, _, _ in steps} == set(WIDE.names)
    assert {size for name, size, _ in steps if name == "Rotate"} - {0.0} == {
        s * x for x in (45, 90, 135) for s in (1, -1)
    }
    assert {size for name, size, _ in steps if name == "Posterize"} == {8, 6, 4, 2}


@pytest.mark.parametrize("policy", LEARNED)
def test_autoaugment_draws_its_pairs_with_their_chances(policy):
    drawn = draws(ops.AutoAugment(policy), 3000)
    counts = Counter(name for params in drawn for name, _, _ in params["steps"])
    for name in {name for pair in LEARNED[policy] for name, _, _ in pair}:
        expected = 3000 / 25 * sum(chance for pair in LEARNED[policy] for one, chance, _ in pair if one == name)
        assert abs(counts[name] - expected) <= 5 * math.sqrt(expected), name
    assert sum(counts.values()) == sum(len(params["steps"]) for params in drawn)


def test_learned_pairs_are_of_known_operations():
    assert {policy: len(pairs) for policy, pairs in LEARNED.items()} == dict.fromkeys(LEARNED, 25)
    for pairs in LEARNED.values():
        for pair in pairs:
            assert len(pair) == 2
            for name, chance, ninths in pair:
                assert name in AUTO.names
                assert 0 <= chance <= 1
                assert 0 <= ninths <= 9
    # Two of each table, as the paper prints them.
    assert LEARNED["imagenet"][0] == (("Posterize", 0.4, 8), ("Rotate", 0.6, 9))
    assert LEARNED["imagenet"][18] == (("ShearX", 0.6, 5), ("Equalize", 1.0, 0))
    assert LEARNED["cifar10"][0] == (("Invert", 0.1, 0), ("Contrast", 0.2, 6))
    assert LEARNED["cifar10"][24] == (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0))
    assert LEARNED["svhn"][1] == (("ShearY", 0.9, 8), ("Invert", 0.7, 0))
    assert LEARNED["svhn"][24] == (("ShearX", 0.7, 2), ("Invert", 0.1, 0))


@pytest.mark.parametrize(("name", "strength"), [("Identity", 0.5), ("Rotate", 0.0), ("Color", 0.0), ("Posterize", 0.0)])
def test_what_changes_nothing_is_recorded_and_not_done(name, strength):
    drawn = draw_operation(stream(1, "a", "b"), RAND, name, strength, FRAME)
    assert drawn[::2] == [name, None]
    assert list(ops.RandAugment().steps({"steps": [drawn]})) == []


def test_an_operation_that_is_none_is_named():
    with pytest.raises(RecipeError, match="no operation 'Cutout' among ShearX"):
        list(ops.RandAugment().steps({"steps": [["Cutout", 0.1, {}]]}))


# ---- how they are applied


def test_neighbouring_geometry_is_one_warp():
    params = {"steps": [*step("Rotate", 20.0)["steps"], *step("ShearX", 0.1)["steps"], *step("Invert", 0.0)["steps"]]}
    moves = list(moves_of(ops.AutoAugment(), params, FRAME))
    assert [type(move) for move in moves] == [Warp, Kernel]
    assert moves[0].resampling.interpolation == "nearest"


@pytest.mark.parametrize("op", POLICIES, ids=repr)
def test_boxes_keypoints_and_masks_follow(op):
    targets = Targets(boxes=[[150, 50, 170, 70]], keypoints=[[[160, 60]]], masks={"all": np.ones((120, 331), np.uint8)})
    moved, _ = follow(targets, moves_of(op, step("TranslateX", -40), FRAME))
    assert moved.boxes.tolist() == [[110, 50, 130, 70]]
    assert moved.keypoints[0][0, :2].tolist() == [120, 60]
    assert moved.masks["all"].sum() == 120 * 291


def test_shear_leaves_the_corner_where_it_is():
    corners = Targets(keypoints=[[[0, 0], [0, 100]]])
    moved, _ = follow(corners, moves_of(ops.RandAugment(), step("ShearX", -0.2), FRAME))
    np.testing.assert_allclose(moved.keypoints[0][:, :2], [[0.1, 0], [20.1, 100]], atol=1e-9)  # 0 is half a pixel in


@pytest.mark.parametrize("op", POLICIES, ids=repr)
def test_policies_travel_by_their_settings_and_make_one_variant(check_travels, op):
    check_travels(op)
    assert tree.grow(op).variants == [op.short_name]
    assert json.loads(json.dumps(op.sample_params(stream(1, "a", "b"), FRAME)))


def test_fill_and_interpolation_are_those_of_the_policy(apply):
    src = np.zeros((20, 30, 3), np.uint8)
    moved = step("TranslateX", 10, Frame.of(src))
    out = apply(ops.RandAugment(fill=(7, 8, 9), interpolation="linear"), src, moved)
    assert out[5, 2].tolist() == [7, 8, 9]
    moves = list(moves_of(ops.TrivialAugmentWide(interpolation="cubic", fill_mask=4), moved, FRAME))
    assert (moves[0].resampling.interpolation, moves[0].resampling.for_masks().fill) == ("cubic", 4)


@pytest.mark.parametrize("op", [*POLICIES, ops.AugMix()], ids=repr)
def test_policies_refuse_what_an_operation_might(op):
    with pytest.raises(OpError, match=f"{type(op).__name__}: expected grey, RGB or RGBA"):
        op.out_frame(Frame(9, 9, 7, "uint8"), {})


def test_a_fill_of_other_channels_is_refused_whatever_is_drawn():
    with pytest.raises(OpError, match=r"RandAugment\(fill=\(1.0, 2.0\)\): expected one number or one for each"):
        ops.RandAugment(fill=(1, 2)).out_frame(FRAME, {"steps": []})


# ---- the two ops of their own


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [0.1, 1.9])
def test_sharpness_blends_with_weighted_means(make_pixels, run, dtype, factor):
    src = make_pixels((12, 9, 4), dtype)
    wanted = src / MAX_VALUE[dtype]
    smooth = wanted.copy()
    weights = np.ones((3, 3)) / 13
    weights[1, 1] = 5 / 13
    windows = np.lib.stride_tricks.sliding_window_view(wanted, (3, 3), axis=(0, 1))
    smooth[1:-1, 1:-1] = (windows * weights).sum(axis=(-2, -1))
    wanted = (factor * wanted + (1 - factor) * smooth).clip(0, 1)
    wanted[..., 3] = src[..., 3] / MAX_VALUE[dtype]
    error = np.abs(run(_Sharpness(), src, {"factor": factor}) / MAX_VALUE[dtype] - wanted)
    assert error.max() <= {"uint8": 1.01 / 255, "uint16": 1.01 / 65535, "float32": 1e-6}[dtype]


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (9, 2)])
def test_sharpness_leaves_what_is_all_border(make_pixels, run, size):
    src = make_pixels((*size, 3))
    np.testing.assert_array_equal(run(_Sharpness(), src, {"factor": 1.9}), src)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_equalize_of_finer_types_is_that_of_8_bits(photograph, run, dtype):
    part = np.ascontiguousarray(photograph[:60, :80] // 2)
    scaled = (part * (MAX_VALUE[dtype] / 255)).astype(dtype)
    wanted = run(_Equalize(), part, {}) / 255
    np.testing.assert_allclose(run(_Equalize(), scaled, {}) / MAX_VALUE[dtype], wanted, atol=1e-6)


# ---- AugMix


@pytest.mark.parametrize("dtype", DTYPES)
def test_augmix_mixes_its_chains(make_pixels, run, dtype):
    src = make_pixels((20, 30, 3), dtype)
    chains = [
        [["Solarize", 0.0, {"threshold": 0.0}], ["Brightness", -0.5, {"brightness": 0.5, "order": [0]}]],
        [["Posterize", 4, {"num_bits": 4}]],
    ]
    pixels = src / MAX_VALUE[dtype]
    few = np.floor(np.rint(pixels * 255) / 16) * 16 / 255 if dtype == "float32" else src // (MAX_VALUE[dtype] // 16 + 1)
    few = few if dtype == "float32" else few * (MAX_VALUE[dtype] // 16 + 1) / MAX_VALUE[dtype]
    wanted = 0.2 * pixels + 0.3 * (0.5 * (1 - pixels)) + 0.5 * few
    out = run(ops.AugMix(), src, {"weights": [0.2, 0.3, 0.5], "chains": chains}) / MAX_VALUE[dtype]
    assert np.abs(out - wanted).max() <= {"uint8": 1.01 / 255, "uint16": 1.01 / 65535, "float32": 1e-6}[dtype]


def test_augmix_draws_chains_and_weights_that_add_up_to_1():
    drawn = draws(ops.AugMix(severity=3, mixture_width=4))
    assert all(len(one["weights"]) == 5 and sum(one["weights"]) == pytest.approx(1) for one in drawn)
    assert 0.45 < np.mean([one["weights"][0] for one in drawn]) < 0.55
    depths = Counter(len(chain) for one in drawn for chain in one["chains"])
    assert set(depths) == {1, 2, 3}
    steps = [each for one in drawn for chain in one["chains"] for each in chain]
    assert {name for name, _, _ in steps} == set(MIX.names)
    assert {size for name, size, _ in steps if name == "Posterize"} == {4, 3}
    assert {len(chain) for one in draws(ops.AugMix(chain_depth=2), 20) for chain in one["chains"]} == {2}
    partly = draws(ops.AugMix(all_ops=False), 50)
    assert {name for one in partly for chain in one["chains"] for name, _, _ in chain} == set(MIX.names[:4])


def test_augmix_refuses_what_moves_pixels(make_pixels):
    src = make_pixels((9, 9, 3))
    params = {"weights": [0.5, 0.5], "chains": [step("Rotate", 10.0)["steps"]]}
    with pytest.raises(OpError, match="expected operations on colours, got Affine"):
        ops.AugMix().kernel(src, params, np.empty_like(src))


WRONG = [
    (ops.RandAugment, {"num_ops": -1}),
    (ops.RandAugment, {"num_ops": 1.5}),
    (ops.RandAugment, {"magnitude": 31}),
    (ops.RandAugment, {"magnitude": -1}),
    (ops.RandAugment, {"num_magnitude_bins": 1}),
    (ops.RandAugment, {"interpolation": "best"}),
    (ops.RandAugment, {"fill": "black"}),
    (ops.RandAugment, {"fill_mask": -1}),
    (ops.TrivialAugmentWide, {"num_magnitude_bins": 1}),
    (ops.AutoAugment, {"policy": "coco"}),
    (ops.AugMix, {"severity": 11}),
    (ops.AugMix, {"severity": 0}),
    (ops.AugMix, {"mixture_width": 0}),
    (ops.AugMix, {"chain_depth": "deep"}),
    (ops.AugMix, {"alpha": 0}),
    (ops.AugMix, {"all_ops": 1}),
]


@pytest.mark.parametrize(("kind", "settings"), WRONG)
def test_what_a_field_cannot_be_is_named(kind, settings):
    ((name, value),) = settings.items()
    with pytest.raises(RecipeError) as caught:
        kind(**settings)
    assert caught.value.message.startswith(f"{kind.__name__}({name}={value!r}): expected")
