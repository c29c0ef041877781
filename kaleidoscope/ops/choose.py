"""Parts that are drawn: one leaf each, whatever the draw, so that names and counts never depend on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.errors import RecipeError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, Part
from kaleidoscope.ops.combine import Combinator, Sequential, as_part

if TYPE_CHECKING:
    from numpy.random import Generator

    from kaleidoscope.record import Frame
    from kaleidoscope.targets import Targets

#: From params of a choice, which may be only its first steps, to what is labelled after them.
TargetsAt = Callable[[Params], "Targets | None"]


class Choice(Combinator, Op):
    """An op that applies some of its parts, drawn for each image.

    Its parts are ops, sequences of ops, and choices again. Which of them, and what they draw themselves, comes from the
    stream of its own node; ``params["steps"]`` lists them in the order of application as (place, params), the place
    being the path of indices to the op. Neighbouring geometry inside is one warp; with what is around it, it is not:
    that would depend on the draw.
    """

    def draw(self, rng: Generator) -> Sequence[int]:
        """Return the indices of the parts that are applied, in order."""
        raise RecipeError(f"{type(self).__name__} does not say how it draws")

    @property
    def resources(self) -> Mapping[str, float]:  # type: ignore[override]
        """What all of its parts need: which of them it will be, nobody knows before."""
        needs: dict[str, float] = {}
        for part in self.parts:
            for _, op in _ops_of(part, ()):
                needs |= {name: max(amount, needs.get(name, 0)) for name, amount in op.resources.items()}
        return needs

    @property
    def needs_targets(self) -> bool:
        """Whether one of its parts looks at labels when it draws."""
        return any(op.needs_targets for part in self.parts for _, op in _ops_of(part, ()))

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the parts, then what each of them draws, on the frame that the one before leaves."""
        return self.sample_params_at(rng, frame, lambda _: None)

    def sample_params_at(self, rng: Generator, frame: Frame, targets_at: TargetsAt) -> dict[str, Any]:
        """Draw as `sample_params` does, with parts that look at labels.

        Parameters
        ----------
        rng : numpy.random.Generator
            The stream of this image at this node.
        frame : Frame
            What the choice will be applied to.
        targets_at : callable
            Returns what is labelled after the choice with params such as these: those of the steps drawn so far.
        """
        steps: list[list[Any]] = []
        for index in self.draw(rng):
            for place, op in _ops_of(self.parts[index], (int(index),)):
                params = _draw(op, rng, frame, steps, list(place), targets_at)
                frame = op.out_frame(frame, params)
                steps.append([list(place), params])
        return {"steps": steps}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame that the drawn parts leave."""
        for op, its_params in self.steps(params):
            frame = op.out_frame(frame, its_params)
        return frame

    def steps(self, params: Params) -> Iterator[tuple[Op, Params]]:
        """Yield the drawn ops with what they drew, in the order of application."""
        for place, its_params in params["steps"]:
            part: Part = self
            for index in place:
                part = part.parts[index] if isinstance(part, Combinator) else part
            if not isinstance(part, Op):
                raise RecipeError(f"{type(self).__name__}: there is no op at {place}")
            yield part, its_params


def _draw(
    op: Op, rng: Generator, frame: Frame, before: list[list[Any]], place: list[int], targets_at: TargetsAt
) -> dict[str, Any]:
    """Draw for an op inside a choice, which comes after the steps `before`; only who looks at labels costs them."""
    if not op.needs_targets:
        return op.sample_params(rng, frame)
    if isinstance(op, Choice):
        return op.sample_params_at(rng, frame, lambda params: targets_at({"steps": [*before, [place, params]]}))
    return op.sample_params_for(rng, frame, targets_at({"steps": list(before)}))


def _ops_of(part: Part, place: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Op]]:
    if isinstance(part, Op):
        yield place, part
    elif isinstance(part, Sequential):
        for index, inner in enumerate(part.parts):
            yield from _ops_of(inner, (*place, index))


def _one_leaf(owner: str, value: object) -> Part:
    """Return a part that is always one variant.

    Raises
    ------
    RecipeError
        For one that is several: how many variants there are would depend on the draw.
    """
    part = as_part(value)
    if isinstance(part, Sequential):
        for inner in part.parts:
            _one_leaf(owner, inner)
    elif not isinstance(part, Op):
        raise RecipeError(
            f"{owner}: expected ops and sequences of ops, got {part!r}: the number of variants would depend on the draw"
        )
    return part


class OneOf(Choice):
    """One of the parts, drawn for each image.

    Parameters
    ----------
    *parts : Op, Sequential or choice
        At least one.
    weights : sequence of float, optional
        How likely each is, in any unit; equally by default.

    Examples
    --------
    >>> from kaleidoscope import ops, tree
    >>> tree.grow(ops.OneOf(ops.GaussianBlur(), ops.GaussNoise())).variants
    ['oneof']
    """

    short_name = "oneof"

    def __init__(self, *parts: Part, weights: Sequence[float] | None = None) -> None:
        self.parts = tuple(_one_leaf("OneOf", part) for part in parts)
        self.weights = None if weights is None else weights
        if not parts:
            raise RecipeError("OneOf(): expected at least one part")
        if weights is not None:
            fields.weights(self, "weights", len(parts))

    def settings(self) -> dict[str, Any]:
        """Return ``weights`` if they were given."""
        return {} if self.weights is None else {"weights": self.weights}

    def draw(self, rng: Generator) -> Sequence[int]:
        """Draw one index."""
        chances = None if self.weights is None else np.divide(self.weights, np.sum(self.weights))
        return [int(rng.choice(len(self.parts), p=chances))]


class SomeOf(Choice):
    """Some of the parts, drawn for each image, applied in the recipe's order.

    Parameters
    ----------
    *parts : Op, Sequential or choice
        None is applied twice.
    n : int or (int, int)
        How many, or the least and the most.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> ops.SomeOf(ops.HorizontalFlip(), ops.Rotate(), ops.GaussianBlur(), n=2)
    SomeOf(HorizontalFlip(), Rotate(), GaussianBlur(), n=(2, 2))
    """

    short_name = "someof"

    def __init__(self, *parts: Part, n: int | tuple[int, int]) -> None:
        self.parts = tuple(_one_leaf("SomeOf", part) for part in parts)
        self.n: Any = n
        expected = f"how many of the {len(parts)} parts: a whole number, or the least and the most"
        fields.pair(self, "n", expected=expected, low=0, high=len(parts), whole=True)

    def settings(self) -> dict[str, Any]:
        """Return ``n``."""
        return {"n": self.n}

    def draw(self, rng: Generator) -> Sequence[int]:
        """Draw how many, then which."""
        count = int(rng.integers(self.n[0], self.n[1], endpoint=True))
        return sorted(int(index) for index in rng.permutation(len(self.parts))[:count])


class Sometimes(Choice):
    """The part, or nothing, drawn for each image.

    Parameters
    ----------
    part : Op, Sequential or choice
    p : float
        How likely it is applied, 0 to 1.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> ops.Sometimes(ops.GaussianBlur(), p=0.25)
    Sometimes(GaussianBlur(), p=0.25)
    """

    short_name = "sometimes"

    def __init__(self, part: Part, p: float = 0.5) -> None:
        self.parts = (_one_leaf("Sometimes", part),)
        self.p = p
        fields.number(self, "p", expected="how likely it is applied, 0 to 1", low=0, high=1)

    def settings(self) -> dict[str, Any]:
        """Return ``p``."""
        return {"p": self.p}

    def draw(self, rng: Generator) -> Sequence[int]:
        """Draw whether."""
        return [0] if rng.uniform() < self.p else []
