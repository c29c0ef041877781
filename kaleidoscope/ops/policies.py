"""Automatic augmentation: policies that draw operations and how strong each is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.ops import fields
from kaleidoscope.ops.affine import Affine
from kaleidoscope.ops.base import Op, Params, Part, into, op
from kaleidoscope.ops.choose import Choice
from kaleidoscope.ops.histogram import AutoContrast, grey_or_rgb
from kaleidoscope.ops.levels import InvertImg, Posterize, Solarize, keep_alpha
from kaleidoscope.ops.pillow import PillowEqualize, Sharpness
from kaleidoscope.ops.policy_tables import AUTO, LEARNED, MIX, MIX_PARTLY, RAND, SIGNED, WIDE, Space
from kaleidoscope.ops.tints import ColorJitter

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: An operation as it was drawn: its name, its magnitude, and the params of the op that does it; None if none needs to.
Drawn = list[Any]


class Policy(Choice):
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
        yield from _ops_of(params["steps"], _ops(str(self.interpolation), self.fill, self.fill_mask))


def _ops_of(drawn: Iterable[Drawn], known: dict[str, Op]) -> Iterator[tuple[Op, Params]]:
    for name, _, params in drawn:
        if name not in known and name != "Identity":
            raise RecipeError(f"there is no operation {name!r} among {', '.join(known)}")
        if params is not None:
            yield known[name], params


@cache
def _ops(interpolation: str, fill: float | tuple[float, ...], fill_mask: float) -> dict[str, Op]:
    """Return the op that does each operation; what it does to an image is in its params alone."""
    affine = Affine(interpolation=interpolation, fill=fill, fill_mask=fill_mask)
    moving = dict.fromkeys(("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"), affine)
    tints = dict.fromkeys(("Brightness", "Color", "Contrast"), ColorJitter())
    return {
        **moving,
        **tints,
        "Sharpness": Sharpness(),
        "Posterize": Posterize(),
        "Solarize": Solarize(),
        "AutoContrast": AutoContrast(method="pil"),
        "Equalize": PillowEqualize(),
        "Invert": InvertImg(),
    }


def _draw(rng: Generator, space: Space, name: str, strength: float, frame: Frame) -> Drawn:
    """Return an operation of that strength, its sign drawn."""
    magnitude = space.magnitude(name, strength, frame)
    if name in SIGNED and rng.uniform() < 0.5:
        magnitude = -magnitude
    if name in ("TranslateX", "TranslateY"):
        magnitude = int(magnitude)
    changes_nothing = name == "Identity" or (name in SIGNED and magnitude == 0) or (name, magnitude) == ("Posterize", 8)
    return [name, magnitude, None if changes_nothing else _params(name, magnitude, frame)]


#: The field of `ColorJitter` that an operation sets, and its place among the steps.
_TINTS = {"Brightness": ("brightness", 0), "Contrast": ("contrast", 1), "Color": ("saturation", 2)}


def _params(name: str, magnitude: float, frame: Frame) -> dict[str, Any]:
    """Return the params of the op that does an operation."""
    if name in _TINTS:
        field, place = _TINTS[name]
        return {field: 1.0 + magnitude, "order": [place]}
    if name == "Sharpness":
        return {"factor": 1.0 + magnitude}
    if name == "Posterize":
        return {"num_bits": int(magnitude)}
    if name == "Solarize":
        return {"threshold": magnitude}
    if name not in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
        return {}
    drawn: dict[str, Any] = {"scale": [1.0, 1.0], "translate": [0, 0], "rotate": 0.0, "shear": [0.0, 0.0]}
    axis = 0 if name.endswith("X") else 1
    if name == "Rotate":
        drawn["rotate"] = magnitude
    elif name.startswith("Translate"):
        drawn["translate"][axis] = magnitude
    else:
        # Policies shear about the frame's upper left corner, Affine about its middle.
        drawn["shear"][axis] = math.degrees(math.atan(magnitude))
        drawn["translate"][axis] = -magnitude * (frame.height if axis == 0 else frame.width) / 2
    return drawn


@op
class RandAugment(Policy):
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
        return {"steps": [_draw(rng, RAND, name, strength, frame) for name in names]}


@op
class TrivialAugmentWide(Policy):
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
        return {"steps": [_draw(rng, WIDE, name, strength, frame)]}


@op
class AutoAugment(Policy):
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
                steps.append(_draw(rng, AUTO, name, ninths / 9, frame))
        return {"steps": steps}


@op
class AugMix(Op):
    """Mix the image with chains of operations on it, in drawn proportions.

    ::

        out = (1 - m) * pixel + m * sum(w_i * chain_i(pixel)),   m ~ Beta(alpha, alpha),  w ~ Dirichlet(alpha, ...)

    A chain is one to three operations drawn evenly, of drawn strengths: posterize (from 4 bits down), solarize,
    autocontrast, equalize and, with `all_ops`, brightness, colour, contrast and sharpness by factors from 0.1 to 1.9.

    The paper's shears, shifts and rotations are left out: a mixture of an image and the same image moved has its
    objects in several places at once, and no box, mask or keypoint is right for it. Targets and alpha stay. Grey, RGB
    and RGBA, of every dtype. Parameters as of `torchvision.transforms.v2.AugMix`.

    Parameters
    ----------
    severity : int in [1, 10]
        Strengths are drawn evenly from the first so many of ten.
    mixture_width : int
        Chains, at least 1.
    chain_depth : int
        Operations in each; below 1 their number is drawn from 1 to 3 for each chain.
    alpha : float
        Above 0; the smaller it is, the more one chain, or the image itself, dominates.
    all_ops : bool
        Also those that overlap with the corruptions of ImageNet-C.

    References
    ----------
    D. Hendrycks, N. Mu, E. D. Cubuk, B. Zoph, J. Gilmer and B. Lakshminarayanan, "AugMix: A simple data processing
    method to improve robustness and uncertainty", ICLR 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0], [100], [255]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> negative = [["Solarize", 0.0, {"threshold": 0.0}]]
    >>> ops.AugMix().kernel(grey, {"weights": [0.25, 0.75], "chains": [negative]}, out)
    >>> out.ravel().tolist()
    [191, 141, 64]
    """

    severity: int = 3
    mixture_width: int = 3
    chain_depth: int = -1
    alpha: float = 1.0
    all_ops: bool = True

    short_name = "augmix"

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        RecipeError
            If one is not what it should be.
        """
        fields.whole(self, "severity", low=1, expected="a whole number from 1 to 10")
        if self.severity > _MOST_SEVERE:
            raise fields.refuse(self, "severity", self.severity, "a whole number from 1 to 10")
        fields.whole(self, "mixture_width", low=1, expected="how many chains, at least 1")
        fields.whole(self, "chain_depth", low=-1, expected="how many operations, or -1 to draw it")
        # The least number above 0 stands for "above 0".
        fields.number(self, "alpha", low=math.ulp(0.0), expected="a number above 0")
        fields.flag(self, "all_ops")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``weights``, of the image and of each chain, and ``chains``, lists of [name, magnitude, params]."""
        space = MIX if self.all_ops else MIX_PARTLY
        mixed = float(rng.beta(self.alpha, self.alpha))
        shares = rng.dirichlet([self.alpha] * self.mixture_width).tolist()
        chains = []
        for _ in shares:
            depth = self.chain_depth if self.chain_depth > 0 else int(rng.integers(1, 4))
            names = [space.names[int(rng.integers(len(space.names)))] for _ in range(depth)]
            strengths = [int(rng.integers(self.severity)) / (_MOST_SEVERE - 1) for _ in names]
            drawn = zip(names, strengths, strict=True)
            chains.append([_draw(rng, space, name, strength, frame) for name, strength in drawn])
        return {"weights": [1 - mixed, *(mixed * share for share in shares)], "chains": chains}

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the same frame.

        Raises
        ------
        OpError
            If it is neither grey, RGB nor RGBA.
        """
        return grey_or_rgb(self, frame)

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the mixture of `src`, shape (H, W, 1), (H, W, 3) or (H, W, 4), and its chains."""
        src = np.ascontiguousarray(src)
        weight, *weights = params["weights"]
        known = _ops("nearest", 0.0, 0.0)
        mixture = cv2.addWeighted(_rows(src), weight, _rows(src), 0.0, 0.0, dtype=cv2.CV_32F)
        for share, chain in zip(weights, params["chains"], strict=True):
            pixels = src
            for each, its_params in _ops_of(chain, known):
                if each.moves_pixels:
                    raise OpError(f"AugMix: expected operations on colours, got {type(each).__name__}")
                made = np.empty_like(src)
                each.kernel(pixels, its_params, made)
                pixels = made
            cv2.addWeighted(mixture, 1.0, _rows(pixels), share, 0.0, dst=mixture, dtype=cv2.CV_32F)
        depth = {np.dtype("uint8"): cv2.CV_8U, np.dtype("uint16"): cv2.CV_16U}.get(out.dtype, cv2.CV_32F)
        into(out, cv2.addWeighted(mixture, 1.0, mixture, 0.0, 0.0, dst=_rows(out), dtype=depth))
        if out.dtype == np.float32:
            np.clip(out, 0, 1, out=out)
        keep_alpha(src, out)


#: Steps of strength that `AugMix` counts.
_MOST_SEVERE = 10


def _rows(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels as rows of plain numbers."""
    return pixels.reshape(len(pixels), -1)
