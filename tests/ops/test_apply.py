import pickle
import sys
import types

import numpy as np
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.recipe import from_spec, to_spec


@pytest.fixture
def mine(monkeypatch):
    """A user's module with functions of an array."""
    module = types.ModuleType("mine_of_the_user")
    functions = {
        "invert_in_place": lambda a: np.subtract(255, a, out=a),
        "halve": lambda a: a[::2],
        "to_float": lambda a: a / 255,
        "nothing": lambda a: None,
        "broken": lambda a: 1 // 0,
        "flat": lambda a: a[..., 0],
    }
    for name, function in functions.items():
        function.__module__, function.__qualname__ = module.__name__, name
        setattr(module, name, function)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def made(recipe, pixels):
    return {r.variant: r for r in ks.augment([pixels], recipe).compute(scheduler="sync")}


def test_applies_a_function_and_leaves_the_input_alone(mine):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    found = made([ops.Apply(mine.invert_in_place)], pixels)
    np.testing.assert_array_equal(found["apply"].pixels, 255 - np.arange(48).reshape(4, 4, 3))
    np.testing.assert_array_equal(found["original"].pixels, np.arange(48).reshape(4, 4, 3))


def test_grey_may_come_back_without_its_channel(mine):
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    np.testing.assert_array_equal(made([ops.Apply(mine.flat)], pixels)["apply"].pixels, pixels)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("halve", r"expected \(4, 4, 3\) uint8 to come back, got \(2, 4, 3\) uint8"),
        ("to_float", r"got \(4, 4, 3\) float64"),
        ("nothing", "got NoneType"),
        ("broken", "ZeroDivisionError"),
    ],
)
def test_what_does_not_fit_costs_its_own_variants(mine, name, message):
    found = made([ops.Apply(getattr(mine, name)), ops.HorizontalFlip()], np.zeros((4, 4, 3), np.uint8))
    assert isinstance(found["apply"].error, OpError)
    with pytest.raises(OpError, match=message):
        raise found["apply"].error
    assert found["hflip"].error is None


def test_a_function_that_is_gone_is_an_error_of_the_image():
    found = made([ops.Apply("no_such_module_of_ours:f")], np.zeros((2, 2, 1), np.uint8))
    with pytest.raises(OpError, match="cannot import"):
        raise found["apply"].error


@pytest.mark.parametrize("fn", [lambda a: a, "numpy.invert", 7, np.zeros(3)])
def test_what_cannot_be_imported_is_refused(fn):
    with pytest.raises(RecipeError, match="Apply"):
        ops.Apply(fn)


def test_travels_by_name_and_is_read_only_where_functions_are_allowed():
    op = ops.Apply(np.invert)
    assert pickle.loads(pickle.dumps(op)) == op
    assert eval(repr(op), {"Apply": ops.Apply}) == op
    recipe = ops.PowerSet(op, ops.Branch(a=ops.OneOf(op)))
    assert from_spec(to_spec(recipe), allow_functions=True) == recipe
    with pytest.raises(RecipeError, match="allow_functions"):
        from_spec(to_spec(recipe))


def test_replays_only_where_functions_are_allowed(tmp_path):
    views = ks.augment([np.zeros((4, 4, 3), np.uint8)], ops.Apply(np.invert))
    row = views.write(tmp_path / "out", format="npy").compute(scheduler="sync").manifest.compute().iloc[0]
    with pytest.raises(RecipeError, match="allow_functions"):
        ks.replay(row, np.zeros((4, 4, 3), np.uint8))
    again = ks.replay(row, np.zeros((4, 4, 3), np.uint8), allow_functions=True)
    np.testing.assert_array_equal(again, np.full((4, 4, 3), 255))


def test_a_function_that_would_end_the_process_is_an_error_of_the_image(mine):
    def gives_up(_):
        raise SystemExit(3)

    gives_up.__module__, gives_up.__qualname__ = mine.__name__, "gives_up"
    mine.gives_up = gives_up
    found = made([ops.Apply(gives_up), ops.HorizontalFlip()], np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(OpError, match=r"000000: apply: .*raised SystemExit: 3"):
        raise found["apply"].error
    assert found["hflip"].error is None
