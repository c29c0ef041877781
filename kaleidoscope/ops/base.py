"""The op protocol: what every augmentation says about itself, and nothing about how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, dataclass_transform

import numpy as np

from kaleidoscope.coordinates import move_points
from kaleidoscope.errors import OpError, RecipeError, did_you_mean
from kaleidoscope.record import Frame

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from kaleidoscope.targets import Targets

Params = Mapping[str, Any]
_OpClass = TypeVar("_OpClass", bound="type[Part]")


class Part:
    """What a variant tree is made of: an op, or a combinator of parts.

    ``repr`` shows only the fields that differ from their defaults and evaluates back to an equal part.
    """

    def settings(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, by name."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != (f.default if f.default_factory is MISSING else f.default_factory())
        }

    def __repr__(self) -> str:
        """Write it as it would be typed."""
        inside = ", ".join(f"{name}={value!r}" for name, value in self.settings().items())
        return f"{type(self).__name__}({inside})"


class Op(Part):
    """One augmentation: a frozen dataclass whose fields are its recipe.

    A subclass defines `sample_params` (all of its randomness), `out_frame` if it changes the frame or cannot do
    every frame, and `kernel`. See `Geometric` for ops that only move pixels.
    """

    #: The short name in variant names and file names: lower-case letters and digits.
    short_name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let a class with a kernel of its own make pixels by it, where the class above it hands out windows."""
        super().__init_subclass__(**kwargs)
        if "kernel" in vars(cls) and "window" not in vars(cls):
            cls.window = Op.window  # type: ignore[method-assign]

    #: What a worker must have beside its cores to run it, such as ``{"GPU": 1}``, as workers are labelled.
    resources: Mapping[str, float] = MappingProxyType({})

    def sample_params(self, rng: Generator, frame: Frame) -> dict[str, Any]:
        """Draw everything this op leaves to chance.

        Parameters
        ----------
        rng : numpy.random.Generator
            The stream of this image at this node; the only source of randomness.
        frame : Frame
            What the op will be applied to.

        Returns
        -------
        dict
            JSON values (numbers, strings, lists) that, with the op itself, fix the outcome.
        """
        return {}

    @property
    def needs_targets(self) -> bool:
        """Whether what it draws depends on the labels, too: where it says how."""
        return type(self).sample_params_for is not Op.sample_params_for

    def sample_params_for(self, rng: Generator, frame: Frame, targets: Targets | None) -> dict[str, Any]:
        """Draw as `sample_params` does, with a look at what is labelled in the image.

        An op that looks at labels defines this and `sample_params`, which draws where there are none. It starts from
        pixels that have been made, and so joins no warp of an op before it.

        Parameters
        ----------
        rng : numpy.random.Generator
            The stream of this image at this node.
        frame : Frame
            What the op will be applied to.
        targets : Targets or None
            What is labelled in it, where the ops before have moved it; only read. None if the image has no labels.
        """
        return self.sample_params(rng, frame)

    def out_frame(self, frame: Frame, params: Params) -> Frame:
        """Return the frame of the outcome, before any pixel is touched.

        Raises
        ------
        OpError
            If the op cannot do this dtype, number of channels or size.
        """
        return frame

    def reduction(self, frame: Frame) -> int:
        """Return by how much smaller an image of that frame may be decoded where this op is the first.

        More than 1 says that the kernel fills its `out` from a source of any size, and that a mean of so many pixels
        across and down serves it as well as the pixels. Params, points and masks are those of `frame` all the same.
        """
        return 1

    def kernel(self, src: NDArray[Any], params: Params, out: NDArray[Any]) -> None:
        """Fill `out`, shape ``out_frame(...).shape``, from `src`, which is shared and read-only; keep neither."""
        raise OpError(f"{type(self).__name__} has no kernel for the CPU")

    def window(self, src: NDArray[Any], params: Params) -> NDArray[Any] | None:
        """Return the part of `src`, as a view, that is what `kernel` would make; None where it makes something else.

        Nothing is copied then. Who sees the outcome only reads it, as all of `src`.
        """
        return None

    @property
    def moves_pixels(self) -> bool:
        """Whether pixels change places, so that targets must follow: where it says how they do."""
        return type(self).move_points is not Op.move_points

    def move_points(self, points: NDArray[np.float64], frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return where the pixels at `points` go, both of shape (N, 2), xy at pixel centres; here: nowhere.

        An op that moves pixels without being `Geometric` defines this and `for_masks`.
        """
        return points

    def pieces(self, frame: Frame, params: Params) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]] | None:
        """Return what the image is cut into, where it is: each piece, xyxy at edges, and how far it goes, xy.

        Boxes and polygons are then cut, too, and their parts go with the pieces; points by `move_points`.
        """
        return None

    def for_masks(self) -> Self:
        """Return the op that moves a mask, shape (H, W, 1), by the same params: it invents no values."""
        return self


@dataclass(frozen=True, slots=True)
class Resampling:
    """How a warp fills the pixels between and beyond the source's, and what it does to masks and boxes.

    Parameters
    ----------
    interpolation : str
        ``nearest``, ``linear``, ``cubic``, ``area`` or ``lanczos4``.
    border_mode : str
        ``constant``, ``replicate``, ``reflect``, ``wrap`` or ``reflect_101``.
    fill : float or tuple of float
        Value beyond the border (``constant`` only), for all channels or one each, in the pixels' own range.
    mask_interpolation, fill_mask
        The same for masks.
    rotate_method : str
        What a box that is turned becomes the bounds of: ``largest_box``, itself, or ``ellipse``, the one inside it.
    """

    interpolation: str = "linear"
    border_mode: str = "constant"
    fill: float | tuple[float, ...] = 0.0
    mask_interpolation: str = "nearest"
    fill_mask: float = 0.0
    rotate_method: str = "largest_box"

    def for_masks(self) -> Resampling:
        """Return how masks are warped."""
        return replace(self, interpolation=self.mask_interpolation, fill=self.fill_mask)


class Geometric(Op):
    """An op that moves pixels by one 3x3 matrix and does nothing else.

    Neighbouring ones that keep the frame and share their resampling are multiplied together and applied once. One that
    changes the frame may have a `kernel` of its own that moves the pixels (a crop is a copy); the matrix then says
    where they went.
    """

    @property
    def has_kernel(self) -> bool:
        """Whether its own kernel moves the pixels, and no warp."""
        return type(self).kernel is not Op.kernel

    @property
    def resampling(self) -> Resampling | None:
        """How the warp interpolates; None: every pixel lands on a pixel (flips, quarter turns)."""
        return None

    @property
    def fuses(self) -> bool:
        """Whether the op keeps the frame, and so may share one warp with its neighbours."""
        return True

    def matrix(self, frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return the map from source to output, shape (3, 3), in pixels with integers at pixel centres."""
        raise OpError(f"{type(self).__name__} has no matrix")

    @property
    def moves_pixels(self) -> bool:
        """It does."""
        return True

    def move_points(self, points: NDArray[np.float64], frame: Frame, params: Params) -> NDArray[np.float64]:
        """Return where the matrix moves `points`, shape (N, 2), xy at pixel centres."""
        return move_points(points, self.matrix(frame, params))


@dataclass_transform(frozen_default=True)
def op(cls: _OpClass) -> _OpClass:
    """Make a class a frozen dataclass that keeps `Part`'s short ``repr``."""
    dataclass(frozen=True, repr=False)(cls)
    _answer_typos(cls)
    return cls


def _answer_typos(cls: type[Part]) -> None:
    """Let the constructor say which parameters there are, where Python would only say that one is unknown."""
    make = cls.__init__
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]

    @wraps(make)
    def init(self: Part, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if name == "p" and name not in known:
                raise RecipeError(
                    f"{cls.__name__}(p=...): no op has a p; whether it is on is the recipe's business: a list makes "
                    f"every variant, Sometimes({cls.__name__}(...), p=0.5) draws"
                )
            if name not in known:
                there = f"it has {', '.join(known)}" if known else "it has none"
                raise RecipeError(f"{cls.__name__} has no parameter {name!r}, {there}.{did_you_mean(name, known)}")
        make(self, *args, **kwargs)

    setattr(cls, "__init__", init)  # noqa: B010 - mypy takes an assignment for a mistake


def into(out: NDArray[Any], result: NDArray[Any]) -> None:
    """Check that an OpenCV call given ``dst=out`` did fill `out`.

    OpenCV silently allocates another array when `out` has not the shape or type it wants.

    Raises
    ------
    OpError
        If `result` is somewhere else.
    """
    if result is not out and not np.may_share_memory(result, out):
        raise OpError(
            f"OpenCV did not write into the buffer: wanted {result.shape} {result.dtype}, "
            f"was given {out.shape} {out.dtype}"
        )
