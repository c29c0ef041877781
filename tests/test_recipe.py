import json
from collections import OrderedDict
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.recipe import canonical, from_spec, to_spec

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)

PARTS = [
    ops.HorizontalFlip(),
    ops.Rotate(limit=15),
    ops.Rotate((-3, 8), interpolation=2, border_mode="wrap", fill=(1, 2, 3), crop_border=True),
    ops.GaussianBlur(blur_limit=(3, 7), sigma_limit=2),
    ops.GaussNoise(per_channel=False),
    ops.Sequential(),
    ops.Sequential(ops.HorizontalFlip(), ops.Rotate()),
    ops.PowerSet(ops.HorizontalFlip(), ops.Rotate(), sizes=(0, 1)),
    ops.Branch(weak=ops.Rotate(5), strong=ops.Sequential(ops.Rotate(45), ops.GaussNoise())),
    ops.Branch(parts=ops.Rotate(5), branches=ops.Rotate(6), n=ops.Rotate(7), sizes=ops.Rotate(8)),
    ops.Repeat(ops.PowerSet(ops.Rotate(), ops.GaussNoise()), n=3),
]


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_a_part_comes_back_from_json(part):
    assert from_spec(json.loads(json.dumps(to_spec(part)))) == part


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_a_spec_is_plain(part):
    assert json.loads(json.dumps(to_spec(part))) == to_spec(part)


def test_a_spec_holds_only_what_differs_from_the_defaults():
    assert to_spec(ops.Rotate(limit=90, fill=0)) == {"Rotate": {}}
    assert to_spec(ops.Rotate(limit=(-15, 15), fill=7)) == {"Rotate": {"limit": [-15.0, 15.0], "fill": 7.0}}


def test_equal_parts_have_equal_specs_however_they_were_typed():
    assert to_spec(ops.Rotate(15, interpolation=1)) == to_spec(ops.Rotate(limit=[-15.0, 15.0]))


@pytest.mark.parametrize("mapping", [OrderedDict, MappingProxyType])
def test_any_mapping_is_a_spec(mapping):
    assert from_spec(mapping({"Rotate": mapping({"limit": 15})})) == ops.Rotate(15)


def test_an_unknown_op_suggests_the_nearest():
    with pytest.raises(RecipeError, match=r"no op called 'rotate'\. Did you mean 'Rotate'\?"):
        from_spec({"PowerSet": {"parts": [{"rotate": {}}]}})


def test_an_unknown_setting_suggests_the_nearest():
    with pytest.raises(RecipeError, match=r"Rotate has no setting 'limits'\. Did you mean 'limit'\?"):
        from_spec({"Rotate": {"limits": 15}})


@pytest.mark.parametrize(
    "spec",
    [
        None,
        5,
        [],
        {},
        {"Rotate": {}, "HorizontalFlip": {}},
        {"Rotate": [15]},
        {"Rotate": {"limit": "wide"}},
        {"PowerSet": {"parts": [[{"Rotate": {}}]]}},
        {"PowerSet": {"sizes": [0, "two"]}},
        {"Branch": {}},
        {"Branch": {"branches": {"Upper Case": {"Rotate": {}}}}},
        {"Repeat": {"parts": [{"Rotate": {}}], "n": 0}},
        {"eval": {}},
        {"__import__": {"name": "os"}},
    ],
    ids=str,
)
def test_what_is_no_spec_is_refused(spec):
    with pytest.raises(RecipeError):
        from_spec(spec)


@pytest.mark.parametrize(
    "spec",
    [
        {1: {}},
        {"Rotate": {1: 2}},
        {"PowerSet": {"parts": 5}},
        {"PowerSet": {"branches": {"a": {"Rotate": {}}}}},
        {"Branch": {"branches": ["a"]}},
        {"Branch": {"parts": [{"Rotate": {}}]}},
        {"Repeat": {"n": 2}},
        {"Repeat": {"parts": [{"Rotate": {}}]}},
        {"Repeat": {"parts": [{"Rotate": {}}, {"HorizontalFlip": {}}], "n": 2}},
        {"HorizontalFlip": {"parts": [{"Rotate": {}}]}},
    ],
    ids=str,
)
def test_a_spec_of_the_wrong_build_is_refused_as_a_recipe(spec):
    # A recipe is typed by hand, in YAML: a TypeError from an op's constructor says nothing to who typed it.
    with pytest.raises(RecipeError):
        from_spec(spec)


@pytest.mark.parametrize("label", ["self", "1", "class"])
def test_a_branch_may_have_any_name_of_letters_and_digits(label):
    spec = {"Branch": {"branches": {label: {"Rotate": {}}}}}
    part = from_spec(spec)
    assert to_spec(part) == spec
    assert eval(repr(part), {"Branch": ops.Branch, "Rotate": ops.Rotate}) == part


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5), st.randoms())
def test_canonical_text_does_not_depend_on_the_order_of_keys(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(value)


@given(JSON)
def test_canonical_text_is_ascii_json_of_the_same_value(value):
    text = canonical(value)
    assert text.isascii()
    assert json.loads(text) == value


def test_canonical_text_tells_values_apart():
    assert len({canonical(value) for value in (1, 1.5, "1", True, None, [1], {"1": 1})}) == 7


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_canonical_text_refuses_what_json_has_not(value):
    with pytest.raises(ValueError, match="JSON"):
        canonical(value)


@pytest.mark.parametrize("spec", ["Rotate", {"Rotate": None}, {"Rotate": {}}, {"Rotate": []}])
def test_an_op_without_settings_may_be_its_name(spec):
    assert from_spec(spec) == ops.Rotate()
