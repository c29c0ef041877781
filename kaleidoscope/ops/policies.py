"""Automatic augmentation: policies that draw operations and how strong each is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, Part, op
from kaleidoscope.ops.choose import Choice
from kaleidoscope.ops.histogram import grey_or_rgb
from kaleidoscope.ops.operations import draw_operation, known_ops, ops_of
from kaleidoscope.ops.policy_tables import AUTO, LEARNED, RAND, WIDE

if TYPE_CHECKING:
    from numpy.random import Generator

    from kaleidoscope.record import Frame


class _Policy(Choice):
    """A choice among operations that are made on the spot: a recipe holds its settings, and no parts.

    ``params["steps"]`` lists the operations in the order of application as (name, magnitude, params of the op).
    Images are grey, RGB or RGBA; geometry moves masks, boxes, polygons and keypoints too, and neighbouring geometry is
    one warp.
    """

    parts: tuple[Part, ...] = ()

    #: How values between pixels are made, and what lies beyond the border, of pixels and of masks.
    interpolation: str | int
    fill: float | tuple[float, ...]
    fill_mask: float

    def settings(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, by name."""
        return Part.settings(self)

    def check_filling(self) -> None:
        """Check the fields that all policies have.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.interpolation(self)
        fields.numbers(self, "fill", expected="a pixel value, or a list with one for each channel")
        fields.fill_mask(self)

    def ops(self) -> list[Op]:
        """Return the ops that may be drawn."""
        return list(known_ops(str(self.interpolation), self.fill, self.fill_mask).values())

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA, or pixels cannot have the `fill`, whatever was drawn.
        """
        fields.refuse_fill(self, self.fill, frame)
        return grey_or_rgb(self, frame)

    def steps(self, params: Params) -> Iterator[tuple[Op, Params]]:
        """Yield the ops that do what was drawn, with their params, in the order of application."""
        yield from ops_of(params["steps"], known_ops(str(self.interpolation), self.fill, self.fill_mask))


@op
class RandAugment(_Policy):
    """Apply a few operations of one strength, each drawn evenly from fourteen.

    The operations, their ranges and `torchvision.transforms.v2.RandAugment`'s parameters: identity, shears up to a
    tangent of 0.3, shifts up to 150 / 331 of the side, rotation up to 30 degrees, brightness, colour (saturation),
    contrast and sharpness by factors from 0.1 to 1.9, posterize down to 4 bits, solarize, autocontrast and equalize.
    What goes both ways goes either way as likely. Alpha and targets follow geometry; other operations leave them. Grey,
    RGB and RGBA, of every dtype.

    Parameters
    ----------
    num_ops : int
        How many operations, one after another; one may come twice.
    magnitude : int
        Their strength, at least 0, below `num_magnitude_bins`.
    num_magnitude_bins : int
        In how many steps, at least 2, strength is counted.
    interpolation : {"nearest", "linear", "cubic", "area", "lanczos4"}
        How geometry makes values between pixels. OpenCV's integers are accepted.
    fill : float or tuple of float, in the pixels' own range
        The value beyond the border: one for all channels, or one for each.
    fill_mask : float
        The same for masks.

    References
    ----------
    E. D. Cubuk, B. Zoph, J. Shlens and Q. V. Le, "RandAugment: Practical automated data augmentation with a reduced
    search space", NeurIPS 2020.

    Examples
    --------
    >>> from kaleidoscope import ops, tree
    >>> tree.grow(ops.RandAugment(num_ops=3)).variants
    ['randaugment']
    """

    num_ops: int = 2
    magnitude: int = 9
    num_magnitude_bins: int = 31
    interpolation: str | int = "nearest"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "randaugment"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.whole(self, "num_ops", low=0, expected="how many operations, at least 0")
        fields.whole(self, "num_magnitude_bins", low=2, expected="how many steps, at least 2")
        expected = f"a strength from 0 to {self.num_magnitude_bins - 1}, below num_magnitude_bins"
        fields.whole(self, "magnitude", low=0, expected=expected)
        if self.magnitude >= self.num_magnitude_bins:
            raise fields.refuse(self, "magnitude", self.magnitude, expected)
        self.check_filling()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the operations, with their signs."""
        strength = self.magnitude / (self.num_magnitude_bins - 1)
        names = [RAND.names[int(rng.integers(len(RAND.names)))] for _ in range(self.num_ops)]
        return {"steps": [draw_operation(rng, RAND, name, strength, frame) for name in names]}


@op
class TrivialAugmentWide(_Policy):
    """Apply one operation, drawn evenly from fourteen, of a strength drawn evenly.

    The operations are those of `RandAugment`, their ranges wider: shears up to a tangent of 0.99, shifts up to 32
    pixels, rotation up to 135 degrees, factors from 0.01 to 1.99, posterize down to 2 bits. Parameters as of
    `torchvision.transforms.v2.TrivialAugmentWide`.

    Parameters
    ----------
    num_magnitude_bins : int
        In how many steps, at least 2, strength is drawn.
    interpolation, fill, fill_mask
        As of `RandAugment`.

    References
    ----------
    S. G. Mueller and F. Hutter, "TrivialAugment: Tuning-free yet state-of-the-art data augmentation", ICCV 2021.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> ops.TrivialAugmentWide(fill=128)
    TrivialAugmentWide(fill=128.0)
    """

    num_magnitude_bins: int = 31
    interpolation: str | int = "nearest"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "trivialaugment"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.whole(self, "num_magnitude_bins", low=2, expected="how many steps, at least 2")
        self.check_filling()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw the operation, its strength, and its sign."""
        name = WIDE.names[int(rng.integers(len(WIDE.names)))]
        strength = int(rng.integers(self.num_magnitude_bins)) / (self.num_magnitude_bins - 1)
        return {"steps": [draw_operation(rng, WIDE, name, strength, frame)]}


@op
class AutoAugment(_Policy):
    """Apply one of 25 learned pairs of operations, each of the two with its own chance and strength.

    The pairs that were found best for a dataset, and the ranges of `RandAugment`; ``invert`` is among the operations.
    Parameters as of `torchvision.transforms.v2.AutoAugment`.

    Parameters
    ----------
    policy : {"imagenet", "cifar10", "svhn"}
        The dataset that the pairs were learned on.
    interpolation, fill, fill_mask
        As of `RandAugment`.

    References
    ----------
    E. D. Cubuk, B. Zoph, D. Mane, V. Vasudevan and Q. V. Le, "AutoAugment: Learning augmentation strategies from
    data", CVPR 2019.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> ops.AutoAugment("svhn")
    AutoAugment(policy='svhn')
    """

    policy: str = "imagenet"
    interpolation: str | int = "nearest"
    fill: float | tuple[float, ...] = 0.0
    fill_mask: float = 0.0

    short_name = "autoaugment"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.choice(self, "policy", tuple(LEARNED))
        self.check_filling()

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw a pair, which of the two are applied, and their signs."""
        pairs = LEARNED[self.policy]
        steps = []
        for name, chance, ninths in pairs[int(rng.integers(len(pairs)))]:
            if rng.uniform() < chance:
                steps.append(draw_operation(rng, AUTO, name, ninths / 9, frame))
        return {"steps": steps}
