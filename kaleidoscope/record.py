"""What travels: a record of one image, and the frame its pixels fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.errors import KaleidoscopeError, OpError
from kaleidoscope.targets import Labels, Targets
from kaleidoscope.urls import public

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The largest value of each pixel type. ``float32`` pixels lie in [0, 1].
MAX_VALUE = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
#: ``dtype.name`` builds its text anew each time: 10 us, many times an output.
_NAMES = {np.dtype(name): name for name in MAX_VALUE}
_MAX_VALUES = {np.dtype(name): most for name, most in MAX_VALUE.items()}


def max_value_of(pixels: NDArray[Any]) -> float:
    """Return the largest value that pixels of this type have: 255, 65535 or 1.0.

    Examples
    --------
    >>> max_value_of(np.zeros((1, 1, 3), np.uint16))
    65535.0
    """
    return _MAX_VALUES[pixels.dtype]


def name_of(pixels: NDArray[Any]) -> str:
    """Return the type of the pixels as a frame names it.

    Examples
    --------
    >>> name_of(np.zeros((1, 1, 3), np.uint16))
    'uint16'
    """
    return _NAMES[pixels.dtype]


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of pixels before there are any.

    Parameters
    ----------
    height, width : int
        Size in pixels.
    channels : int
        1 is grey, 3 is RGB, 4 is RGBA.
    dtype : str
        ``uint8``, ``uint16`` or ``float32``.
    """

    height: int
    width: int
    channels: int
    dtype: str

    @classmethod
    def of(cls, pixels: NDArray[Any]) -> Frame:
        """Return the frame of `pixels`, shape (H, W, C).

        Raises
        ------
        OpError
            For another number of dimensions, another dtype, or no pixels at all.
        """
        if not isinstance(pixels, np.ndarray):
            raise OpError(f"expected pixels as a NumPy array, got {type(pixels).__name__}")
        name = _NAMES.get(pixels.dtype)
        if pixels.ndim != 3 or name is None or 0 in pixels.shape:
            raise OpError(
                f"expected pixels of shape (H, W, C), none of them 0, as uint8, uint16 or float32; "
                f"got shape {pixels.shape} as {pixels.dtype}"
            )
        height, width, channels = pixels.shape
        return cls(height, width, channels, name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels, as NumPy wants them."""
        return (self.height, self.width, self.channels)

    @property
    def nbytes(self) -> int:
        """Bytes that pixels of this frame take."""
        return self.height * self.width * self.channels * np.dtype(self.dtype).itemsize

    @property
    def max_value(self) -> float:
        """The largest pixel value: 255, 65535 or 1.0."""
        return MAX_VALUE[self.dtype]

    def of_size(self, height: int, width: int) -> Frame:
        """Return the frame of an image of another size."""
        return Frame(height, width, self.channels, self.dtype)  # a third of the time of dataclasses.replace

    def __str__(self) -> str:
        """Read as ``512x512x3 uint8`` (width first, as people say it)."""
        return f"{self.width}x{self.height}x{self.channels} {self.dtype}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of an image lie, and what told one version of them from the next.

    Parameters
    ----------
    url : str
        A local path or an fsspec URL. Shown without its signature.
    size : int, optional
        Bytes, as listed.
    etag : str
        The store's own mark of this version (an S3 etag; a modification time on disk); empty if there is none.
    storage_options : mapping
        What fsspec needs to open `url`. Never shown: it may hold credentials.
    """

    url: str
    size: int | None = None
    etag: str = ""
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Show the URL without its signature."""
        return f"Source({public(self.url)!r}, {self.size}, {self.etag!r})"


@dataclass(frozen=True, slots=True)
class Step:
    """One op that was applied, with everything it drew.

    Parameters
    ----------
    node : str
        The node of the variant tree, e.g. ``hflip-rotate``.
    op : mapping
        The op as a recipe writes it, e.g. ``{"Rotate": {"limit": [-15.0, 15.0]}}``.
    params : mapping
        What ``sample_params`` drew, as JSON values.
    text : str
        All of this as JSON, as the manifest keeps it.
    targets : mapping of str to int
        How many labelled objects it ``clipped`` at the frame's border, and ``dropped``, where it did.
    reduction : int
        By how much smaller the image was decoded for it.
    """

    node: str
    op: Mapping[str, Any]
    params: Mapping[str, Any]
    text: str = field(repr=False)
    targets: Mapping[str, int] = field(default_factory=dict)
    reduction: int = 1


@dataclass(slots=True, eq=False)
class ImageRecord:
    """One image: its key, its pixels (or not yet), and how it came to be.

    Parameters
    ----------
    key : str
        Name relative to the dataset's root, ``/`` between folders.
    pixels : ndarray of shape (H, W, C), optional
        RGB (grey ``C=1``, RGBA), ``uint8``, ``uint16`` or ``float32`` in [0, 1]. None: not read yet.
    targets : Targets, optional
        What is labelled in it: it moves with the pixels.
    metadata : dict
        What the file said about itself (``format``, ``offset`` of signed input).
    lineage : tuple of Step
        The ops applied so far, first to last.
    variant : str
        The leaf of the variant tree this is; ``original`` for an image as it was read.
    source : Source, optional
        Where its bytes lie.
    error : KaleidoscopeError, optional
        Why there are no pixels, where reading or an op failed.
    labels : Labels, optional
        Where its targets come from, while they have not been read.
    """

    key: str
    pixels: NDArray[Any] | None = None
    targets: Targets | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    lineage: tuple[Step, ...] = ()
    variant: str = "original"
    source: Source | None = None
    error: KaleidoscopeError | None = None
    labels: Labels | None = None

    def __repr__(self) -> str:
        """Name the key, the variant and the frame; never the pixels."""
        if self.error is not None:
            return f"ImageRecord({self.key!r}, {self.variant!r}, {self.error!r})"
        if self.pixels is None:
            return f"ImageRecord({self.key!r}, {self.variant!r}, no pixels yet)"
        try:
            frame = str(Frame.of(self.pixels))
        except OpError as error:  # somebody's function made them
            frame = error.message
        labelled = "" if self.targets is None else f", {self.targets!r}"
        return f"ImageRecord({self.key!r}, {self.variant!r}, {frame}{labelled})"
