"""What the constructors of all ops answer to a typo."""

import inspect

import pytest

from kaleidoscope import ops
from kaleidoscope.errors import RecipeError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.Rotate(limt=15), "Rotate has no parameter 'limt', it has limit, .* Did you mean 'limit'"),
        (lambda: ops.HorizontalFlip(x=1), "HorizontalFlip has no parameter 'x', it has none"),
        (lambda: ops.HorizontalFlip(p=0.5), "no op has a p.* Sometimes"),
        (lambda: ops.Branch(ops.Rotate()), "expected named parts"),
    ],
)
def test_a_typo_is_answered_with_what_there_is(make, message):
    with pytest.raises(RecipeError, match=message):
        make()


def test_the_signature_is_still_there_to_read():
    assert list(inspect.signature(ops.Rotate).parameters)[:2] == ["limit", "interpolation"]
