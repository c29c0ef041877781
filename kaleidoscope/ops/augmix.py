"""Mixtures of an image and chains of operations on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from kaleidoscope.errors import OpError
from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, into, op
from kaleidoscope.ops.histogram import grey_or_rgb
from kaleidoscope.ops.levels import keep_alpha
from kaleidoscope.ops.operations import draw_operation, known_ops, ops_of
from kaleidoscope.ops.policy_tables import MIX, MIX_PARTLY

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame


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
            chains.append([draw_operation(rng, space, name, strength, frame) for name, strength in drawn])
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
        known = known_ops("nearest", 0.0, 0.0)
        mixture = cv2.addWeighted(_rows(src), weight, _rows(src), 0.0, 0.0, dtype=cv2.CV_32F)
        for share, chain in zip(weights, params["chains"], strict=True):
            pixels = src
            for each, its_params in ops_of(chain, known):
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
