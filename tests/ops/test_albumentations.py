"""Pipelines as `albumentations.to_dict` says them; tests/differential asks the real one."""

import enum
import json

import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.fields import INTERPOLATIONS
from kaleidoscope.tree import grow

FLIP = {"__class_fullname__": "HorizontalFlip", "p": 1.0}
BLUR = {"__class_fullname__": "GaussianBlur", "p": 1.0, "blur_limit": [0, 0], "sigma_limit": [0.5, 3.0]}
TURN = {"__class_fullname__": "Rotate", "p": 1.0, "limit": [-15, 15], "interpolation": 2, "border_mode": 4}


def spec(name, *transforms, **settings):
    return {"__class_fullname__": name, "transforms": list(transforms), **settings}


def maybe(transform, p):
    return {**transform, "p": p}


def converted(transform):
    """Return what a spec becomes, which must be the same after a passage through JSON."""
    part = ops.from_albumentations(transform)
    assert ops.from_albumentations(json.loads(json.dumps(transform))) == part
    return part


def test_transform_is_the_op_of_its_name():
    assert converted(TURN) == ops.Rotate(15, interpolation="cubic", border_mode="reflect_101")


@pytest.mark.parametrize(("number", "name"), [*enumerate(INTERPOLATIONS), (5, "linear"), (6, "nearest")])
def test_interpolations_are_opencvs_numbers(number, name):
    resize = {"__class_fullname__": "Resize", "p": 1.0, "height": 9, "width": 8, "interpolation": number}
    assert converted(resize) == ops.Resize(9, 8, interpolation=name)


@pytest.mark.parametrize("name", ["albumentations.Rotate", "albumentations.augmentations.geometric.rotate.Rotate"])
def test_module_of_theirs_is_no_part_of_the_name(name):
    assert converted({"__class_fullname__": name, "p": 1.0}) == ops.Rotate()


@pytest.mark.parametrize(("p", "expected"), [(1, ops.Rotate()), (0.2, ops.Sometimes(ops.Rotate(), 0.2))])
def test_likelihood_is_sometimes(p, expected):
    assert converted({"__class_fullname__": "Rotate", "p": p}) == expected


def test_likelihood_that_is_not_said_is_that_of_theirs():
    assert converted({"__class_fullname__": "Rotate"}) == ops.Sometimes(ops.Rotate(), 0.5)
    assert converted(spec("Compose", FLIP)) == ops.Sequential(ops.HorizontalFlip())
    assert converted(spec("Sequential", FLIP)) == ops.Sometimes(ops.Sequential(ops.HorizontalFlip()), 0.5)


def test_compose_is_one_variant():
    part = converted({"__version__": "2.0.8", "transform": spec("Compose", maybe(FLIP, 0.5), BLUR, p=1.0)})
    assert part == ops.Sequential(ops.Sometimes(ops.HorizontalFlip(), 0.5), ops.GaussianBlur())
    assert len(grow(part).variants) == 1


def test_replay_compose_is_compose():
    assert converted(spec("ReplayCompose", FLIP, p=1.0, save_key="replay")) == ops.Sequential(ops.HorizontalFlip())


def test_compositions_nest():
    inner = spec("OneOf", spec("Sequential", FLIP, BLUR, p=0.5), TURN, p=1.0)
    expected = ops.OneOf(ops.Sequential(ops.HorizontalFlip(), ops.GaussianBlur()), converted(TURN), weights=(0.5, 1.0))
    assert converted(spec("Compose", inner, p=1.0)) == ops.Sequential(expected)


def test_likelihoods_inside_of_one_of_are_weights():
    flip, blur = ops.HorizontalFlip(), ops.GaussianBlur()
    assert converted(spec("OneOf", maybe(FLIP, 0.2), maybe(BLUR, 0.2), p=1.0)) == ops.OneOf(flip, blur)
    expected = ops.OneOf(flip, blur, weights=(0.2, 0.6))
    assert converted(spec("OneOf", maybe(FLIP, 0.2), maybe(BLUR, 0.6), p=1.0)) == expected
    assert converted(spec("OneOf", maybe(FLIP, 0.2), maybe(BLUR, 0.6), p=0.9)) == ops.Sometimes(expected, 0.9)


def test_some_of_inside_of_one_of_asks_its_own_likelihood_again():
    some = spec("SomeOf", FLIP, BLUR, p=0.5, n=1, replace=False)
    kept = ops.SomeOf(ops.HorizontalFlip(), ops.GaussianBlur(), n=1)
    assert converted(spec("OneOf", some, TURN, p=1.0)) == ops.OneOf(
        ops.Sometimes(kept, 0.5), converted(TURN), weights=(0.5, 1.0)
    )


def test_transforms_inside_of_some_of_keep_their_likelihoods():
    part = converted(spec("SomeOf", maybe(FLIP, 0.5), BLUR, TURN, p=1.0, n=2, replace=False))
    assert part == ops.SomeOf(ops.Sometimes(ops.HorizontalFlip(), 0.5), ops.GaussianBlur(), converted(TURN), n=2)


def test_some_of_takes_no_more_than_there_are():
    assert converted(spec("SomeOf", FLIP, p=1.0, n=3)).n == (1, 1)


def test_one_or_other_is_one_of():
    part = converted(spec("OneOrOther", maybe(FLIP, 0.1), BLUR, p=0.3))
    assert part == ops.OneOf(ops.HorizontalFlip(), ops.GaussianBlur(), weights=(0.3, 0.7))


@pytest.mark.parametrize("name", ["Compose", "OneOf", "SomeOf", "OneOrOther"])
def test_nothing_inside_is_nothing(name):
    part = converted(spec(name, p=1.0))
    assert not part.parts


def test_no_op_is_nothing():
    assert converted({"__class_fullname__": "NoOp", "p": 1.0}) == ops.Sequential()


def test_settings_that_stand_at_rest_are_left_out():
    still = {"x": [0, 0], "y": [0, 0]}
    assert converted({"__class_fullname__": "Affine", "p": 1.0, "translate_px": still}) == ops.Affine()
    assert converted({"__class_fullname__": "Normalize", "p": 1.0, "max_pixel_value": 255.0}) == ops.Normalize()
    crop = {"__class_fullname__": "CropNonEmptyMaskIfExists", "p": 1.0, "height": 4, "width": 5}
    made = converted({**crop, "ignore_values": [2], "ignore_channels": None})
    assert made == ops.CropNonEmptyMaskIfExists(height=4, width=5, ignore_values=(2,))
    with pytest.raises(RecipeError, match="ignore_channels"):  # our masks have names, and no channels
        converted({**crop, "ignore_channels": [0]})
    part = converted({"__class_fullname__": "Normalize", "p": 1.0, "max_pixel_value": 100.0})
    assert part == ops.Normalize(max_pixel_value=100.0)


def test_setting_that_an_op_has_not_is_refused_by_name():
    with pytest.raises(RecipeError, match=r"Rotate\(wobble=3\): Rotate of Kaleidoscope has no such setting"):
        ops.from_albumentations({**TURN, "wobble": 3})


def test_value_that_an_op_has_not_is_refused():
    with pytest.raises(RecipeError, match=r"Rotate\(border_mode=9\)"):
        ops.from_albumentations({**TURN, "border_mode": 9})


def test_setting_that_is_missing_is_named():
    with pytest.raises(RecipeError, match=r"Resize cannot be made of .* 'width'"):
        ops.from_albumentations({"__class_fullname__": "Resize", "p": 1.0, "height": 4})


def test_all_transforms_that_there_are_not_are_named_once():
    odd, mine = ({"__class_fullname__": name, "p": 0.5} for name in ("TextImage", "mine.Rotate"))
    with pytest.raises(RecipeError, match=r"no op for TextImage, mine\.Rotate:"):
        ops.from_albumentations(spec("Compose", odd, FLIP, spec("OneOf", mine, odd)))


@pytest.mark.parametrize("name", ["RandomOrder", "SelectiveChannelTransform"])
def test_compositions_that_there_are_not_are_named(name):
    with pytest.raises(RecipeError, match=f"no op for {name}:"):
        ops.from_albumentations(spec(name, FLIP, p=1.0))


@pytest.mark.parametrize("name", ["Apply", "Tile", "PowerSet", "Sometimes", "Split"])
def test_what_is_in_our_catalogue_only_cannot_be_theirs(name):
    """Apply would import whatever a mapping names."""
    with pytest.raises(RecipeError, match=f"no op for {name}:"):
        ops.from_albumentations({"__class_fullname__": name, "p": 1.0, "fn": "os:getcwd"})


def test_replacement_is_refused():
    with pytest.raises(RecipeError, match=r"SomeOf\(replace=True\)"):
        ops.from_albumentations(spec("SomeOf", FLIP, n=1, replace=True))


def test_further_images_are_refused():
    rest = {"additional_targets": {}, "is_check_shapes": True, "bbox_params": None, "keypoint_params": None}
    assert converted(spec("Compose", FLIP, p=1.0, **rest)) == ops.Sequential(ops.HorizontalFlip())
    with pytest.raises(RecipeError, match=r"additional_targets=\{'depth': 'image'\}"):
        ops.from_albumentations(spec("Compose", FLIP, additional_targets={"depth": "image"}))


def test_formats_of_labels_are_left_out_and_what_drops_labels_is_refused():
    boxes = {"format": "coco", "label_fields": ["classes"], "min_area": 0.0, "min_visibility": 0.0, "clip": True}
    points = {"format": "xy", "remove_invisible": True}
    part = converted(spec("Compose", FLIP, p=1.0, bbox_params=boxes, keypoint_params=points))
    assert part == ops.Sequential(ops.HorizontalFlip())
    with pytest.raises(RecipeError, match=r"bbox_params: min_area=16\.0\).*with_targets"):
        ops.from_albumentations(spec("Compose", FLIP, bbox_params={**boxes, "min_area": 16.0}))
    with pytest.raises(RecipeError, match="keypoint_params: remove_invisible=False"):
        ops.from_albumentations(spec("Compose", FLIP, keypoint_params={"remove_invisible": False}))


class Transform:
    """A transform of theirs, as far as it is asked."""

    def __init__(self, said):
        self.said = said

    def to_dict(self):
        if isinstance(self.said, Exception):
            raise self.said
        return {"__version__": "2.0.8", "transform": self.said}


class Border(enum.IntEnum):
    REFLECT = 2


def test_transform_says_itself_what_it_is():
    said = {**TURN, "limit": (np.float64(-5), 5), "fill": np.array([1, 2, 3]), "border_mode": Border.REFLECT}
    expected = ops.Rotate(5, interpolation="cubic", border_mode="reflect", fill=(1, 2, 3))
    assert ops.from_albumentations(Transform(said)) == expected


def test_transform_that_cannot_say_what_it_is_is_refused():
    with pytest.raises(RecipeError, match=r"to_dict.* raised ValueError.*needs a name"):
        ops.from_albumentations(Transform(ValueError("a Lambda needs a name")))


@pytest.mark.parametrize("given", [None, [FLIP], "HorizontalFlip", {}, {"transform": []}, {"__class_fullname__": 3}])
def test_what_is_no_transform_is_refused(given):
    with pytest.raises(RecipeError, match="from_albumentations: expected"):
        ops.from_albumentations(given)


@pytest.mark.parametrize("given", [spec("Compose", FLIP, 3), {**spec("Compose"), "transforms": 4}])
def test_transforms_that_are_none_are_refused(given):
    with pytest.raises(RecipeError, match=r"from_albumentations: .*expected"):
        ops.from_albumentations(given)


@pytest.mark.parametrize("p", [True, "often", 1.5, -1])
def test_likelihood_that_is_none_is_refused(p):
    with pytest.raises(RecipeError, match="expected how likely it is, 0 to 1"):
        ops.from_albumentations(maybe(FLIP, p))
