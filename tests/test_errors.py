import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope import errors
from kaleidoscope.errors import (
    DecodeError,
    KaleidoscopeError,
    OpError,
    RecipeError,
    ResourceError,
    StoreError,
    did_you_mean,
)

KINDS = [KaleidoscopeError, RecipeError, DecodeError, OpError, StoreError, ResourceError]
WORDS = st.none() | st.text(max_size=8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({}, "too dark"),
        ({"key": "cat/1.jpg"}, "cat/1.jpg: too dark"),
        ({"step": "hflip-rotate"}, "hflip-rotate: too dark"),
        ({"key": "cat/1.jpg", "step": "decode"}, "cat/1.jpg: decode: too dark"),
    ],
)
def test_text_is_key_step_and_message_as_far_as_known(kind, about, text):
    assert str(kind("too dark", **about)) == text


@given(
    st.sampled_from(KINDS),
    st.sampled_from([lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy]),
    st.text(max_size=8),
    WORDS,
    WORDS,
)
def test_errors_keep_kind_key_and_step_on_their_way(kind, travel, message, key, step):
    arrived = travel(kind(message, key=key, step=step))
    assert type(arrived) is kind
    assert (arrived.message, arrived.key, arrived.step) == (message, key, step)
    assert arrived.args == (message,)


def test_a_subclass_of_somebody_else_travels_too():
    arrived = pickle.loads(pickle.dumps(TooDarkError("too dark", key="a", step="b")))
    assert type(arrived) is TooDarkError
    assert (arrived.key, arrived.step) == ("a", "b")


class TooDarkError(OpError):
    """At the module's level, where pickle finds it."""


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (RecipeError, ValueError),
        (DecodeError, ValueError),
        (OpError, RuntimeError),
        (StoreError, OSError),
        (ResourceError, RuntimeError),
    ],
)
def test_errors_are_caught_as_ours_and_as_what_python_calls_them(kind, builtin):
    assert issubclass(kind, KaleidoscopeError)
    with pytest.raises(builtin, match="no"):
        raise kind("no", key="a")


def test_the_docstring_draws_every_error_there_is():
    there = {name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")}
    assert there == {kind.__name__ for kind in KINDS}
    assert all(f" {name} " in f"{errors.__doc__}".replace("\n", " ") for name in there)


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("Rotat", ["Rotate", "HorizontalFlip"], " Did you mean 'Rotate'?"),
        ("ROTATE", ["Rotate", "HorizontalFlip"], " Did you mean 'Rotate'?"),
        ("horizontalflip", ["Rotate", "HorizontalFlip"], " Did you mean 'HorizontalFlip'?"),
        ("Flip", ["Rotate", "HorizontalFlip"], ""),
        ("anything", [], ""),
    ],
)
def test_did_you_mean_names_the_nearest_as_it_is_spelled(name, known, hint):
    assert did_you_mean(name, known) == hint


def test_a_key_that_would_break_the_line_is_quoted():
    assert str(DecodeError("no", key="a\nb\x1b.jpg", step="decode")) == r"'a\nb\x1b.jpg': decode: no"
    assert str(DecodeError("no", key="né 日.jpg")) == "né 日.jpg: no"
