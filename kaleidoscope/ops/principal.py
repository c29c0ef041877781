"""The directions in which an image's colours vary, and the op that moves along them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.ops import fields
from kaleidoscope.ops.base import Op, Params, op
from kaleidoscope.ops.channels import colour_count
from kaleidoscope.ops.levels import keep_alpha
from kaleidoscope.ops.tables import shift_channels
from kaleidoscope.record import max_value_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.record import Frame

#: Pixels taken at a time: as float64 they stay in the processor's cache.
_BAND = 2**14


@op
class FancyPCA(Op):
    """Shift all pixels along the principal components of the image's colours, by draws from a normal distribution.

    ``out = clip(pixel + sum of alpha_i * variance_i * component_i)``, pixels scaled to [0, 1], where the components
    are the unit eigenvectors of the covariance of the colours and the variances their eigenvalues, the largest first
    (A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification with deep convolutional neural networks",
    2012). Any dtype and number of channels; of four the last is alpha, and stays.

    Albumentations says that it adds multiples of the components, but adds to each pixel its own distance from the
    mean, turned by them: less than a level, as a rule, and another outcome for another sign of the same eigenvectors.
    This is the paper's.

    Parameters
    ----------
    alpha : float, at least 0
        Standard deviation of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> from kaleidoscope import ops
    >>> grey = np.array([[[0, 0, 0], [200, 200, 200]]], dtype="uint8")
    >>> out = np.empty_like(grey)
    >>> ops.FancyPCA().kernel(grey, {"alpha_vector": [0.1, 0.0, 0.0]}, out)
    >>> out.tolist()  # 255 * 0.1 * 3 * (100 / 255)**2 / 3**0.5 = 6.8
    [[[7, 7, 7], [207, 207, 207]]]
    """

    alpha: float = 0.1

    short_name = "fancypca"

    def __post_init__(self) -> None:
        """Check the field.

        Raises
        ------
        RecipeError
            If it is not what it should be.
        """
        fields.number(self, "alpha", low=0, expected="a standard deviation of at least 0")

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw ``alpha_vector``: one number for each component, of the largest variance first."""
        return {"alpha_vector": rng.normal(0, self.alpha, colour_count(frame.channels)).tolist()}

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out` with the shifted `src`, shape (H, W, C)."""
        variances, components = principal_components(src)
        shifts = components @ (np.array(params["alpha_vector"]) * variances)
        shift_channels(src, [*shifts.tolist(), 0.0][: src.shape[2]], out)
        keep_alpha(src, out)


def principal_components(src: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variances of the colours along their principal components, the largest first, and these.

    Returns
    -------
    variances : ndarray of shape (C,)
        Of pixels scaled to [0, 1]; alpha is no colour.
    components : ndarray of shape (C, C)
        In columns, of length 1; the entry of each that is farthest from 0 is positive.

    Examples
    --------
    >>> variances, components = principal_components(np.array([[[0, 0], [204, 102]]], "uint8"))
    >>> variances.round(4).tolist(), components[:, 0].round(4).tolist()
    ([0.2, 0.0], [0.8944, 0.4472])
    """
    colours, most = colour_count(src.shape[2]), max_value_of(src)
    pixels = np.ascontiguousarray(src).reshape(-1, src.shape[2])
    sums, products = np.zeros(colours), np.zeros((colours, colours))
    for start in range(0, len(pixels), _BAND):
        part = pixels[start : start + _BAND, :colours].astype(np.float64)
        sums += np.ones(len(part)) @ part
        products += part.T @ part
    means = sums / len(pixels)
    covariance = (products / len(pixels) - np.outer(means, means)) / most**2
    variances, components = np.linalg.eigh(covariance)
    variances, components = np.maximum(variances[::-1], 0), components[:, ::-1]
    # An eigenvector's sign is anybody's choice, and differs from one library to another.
    farthest = np.abs(components).argmax(axis=0)
    signs = np.sign(components[farthest, range(colours)])
    return variances, components * signs
