"""What comes out of the walk of one image: variants, and nodes that another segment goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kaleidoscope.errors import KaleidoscopeError
from kaleidoscope.record import Frame, Step
from kaleidoscope.targets import Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image as a device has encoded it: the bytes of its file, and the frame of its pixels."""

    data: bytes = field(repr=False)
    frame: Frame


@dataclass(frozen=True, slots=True)
class Outcome:
    """One variant of one image, or why there is none.

    Parameters
    ----------
    variant : str
        The leaf's name.
    pixels : ndarray of shape (H, W, C), or None
        Lent: they are overwritten once the next outcome is asked for. None if the variant failed, or is encoded.
    lineage : tuple of Step
        What was applied, as far as it came.
    targets : Targets or None
        What is labelled in them; masks may be shared with other outcomes.
    error : KaleidoscopeError or None
        Why it failed, with key and step.
    encoded : Encoded or None
        Its file, where that was made on a device; it has no pixels then.
    """

    variant: str
    pixels: NDArray[Any] | None
    lineage: tuple[Step, ...]
    targets: Targets | None = None
    error: KaleidoscopeError | None = None
    encoded: Encoded | None = None


@dataclass(frozen=True, slots=True)
class Handover:
    """A node of one image whose children run in another segment: all that these need to go on.

    Parameters
    ----------
    node : str
        Its name.
    frame : Frame
        Of its pixels.
    sizes : mapping of int to ndarray of shape (H, W, C)
        The pixels, by how much smaller they are; see `Picture`. The caller's to keep.
    targets : Targets or None
        What is labelled in them.
    lineage : tuple of Step
        What was applied.
    reductions : mapping of str to int
        How much smaller an image is wanted by the nodes that start from it as it was read.
    """

    node: str
    frame: Frame
    sizes: Mapping[int, NDArray[Any]]
    targets: Targets | None
    lineage: tuple[Step, ...]
    reductions: Mapping[str, int] = field(default_factory=dict)
