"""What a kernel for a device has to do, as tests to subclass: agree with its twin on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np

from kaleidoscope import samples
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.moves import Move, moves_of
from kaleidoscope.ops.base import Op
from kaleidoscope.randomness import stream
from kaleidoscope.record import MAX_VALUE, Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How far apart device and CPU may be, in 255ths of the range, and for how many of the pixels.
LEVELS, SHARE = 2, 0.995
#: Every kind of pixels, as wide as a block of any processor; then the smallest and the flattest images.
FRAMES = (
    *(Frame(61, 128, channels, dtype) for channels, dtype in ((1, "uint8"), (3, "uint8"), (4, "uint8"))),
    *(Frame(61, 128, channels, dtype) for channels, dtype in ((1, "uint16"), (3, "uint16"), (3, "float32"))),
    *(Frame(height, width, 4, "float32") for height, width in ((61, 128), (1, 9))),
    *(Frame(height, width, 3, "uint8") for height, width in ((1, 1), (7, 1), (2, 3))),
)
#: Those of which an image is made in a batch and by itself.
ALONE = tuple(Frame(29, 38, channels, dtype) for channels, dtype in ((3, "uint8"), (1, "uint16"), (4, "float32")))
#: Images of a batch.
_IMAGES = 4


class DeviceTests:
    """What holds for every op with a kernel for a device: subclass it in a test module of yours.

    Attributes
    ----------
    instances : sequence of Op
        What is tested: the op, with as many different settings as make a difference.
    device : str
        Where: the same code runs on tensors of the CPU.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> class TestBlur(DeviceTests):
    ...     instances = (ops.GaussianBlur(),)
    """

    instances: ClassVar[Sequence[Op]] = ()
    device: ClassVar[str] = "cpu"

    def takes(self, op: Op, frame: Frame) -> bool:
        """Return whether the op can do images of that frame."""
        return True

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run each test for each op; pytest calls this."""
        if "op" in metafunc.fixturenames:
            metafunc.parametrize("op", self.instances, ids=repr)

    def test_agrees_with_the_cpu(self, op: Op) -> None:
        """It makes the frame that the CPU makes, and within 2 levels of 255 for 99.5 % of the pixels its values.

        Nothing goes back to the CPU for it, and the batch, which other variants start from, stays as it was.
        """
        from kaleidoscope.backends.torch import TorchBackend

        cpu = Cv2Backend()
        for frame in self._frames(op, FRAMES):
            backend, images, mine = TorchBackend(self.device), pictures(frame, _IMAGES), moves(op, frame, _IMAGES)
            there = backend.upload(images)
            made = backend.download(backend.apply(there, mine))
            assert backend.counts["on_cpu"] == 0, f"{op!r} has no kernel for a device"
            for before, after in zip(images, backend.download(there), strict=True):
                np.testing.assert_array_equal(after, before, err_msg=f"{op!r} writes into its batch")
            for number, one in enumerate(made):
                wanted = cpu.apply(images[number], mine[number])
                assert Frame.of(one) == Frame.of(wanted), f"{op!r} of {frame}"
                share = agreement(one, wanted)
                assert share >= SHARE, f"{op!r} of {frame}: {share:.2%} of the pixels within {LEVELS} levels"
                cpu.release(wanted)

    def test_an_image_does_not_depend_on_the_others(self, op: Op) -> None:
        """A batch of four makes of each image, bit for bit, what it makes of it alone."""
        for frame in self._frames(op, ALONE):
            together = on_device(op, frame, self.device)
            for number in range(_IMAGES):
                (alone,) = on_device(op, frame, self.device, only=number)
                np.testing.assert_array_equal(together[number], alone, err_msg=f"{op!r} of {frame}")

    def _frames(self, op: Op, frames: Sequence[Frame]) -> Iterator[Frame]:
        return (frame for frame in frames if self.takes(op, frame))


def agreement(made: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Return the share of pixels, shape (H, W, C), that are within 2 levels of 255 in all channels."""
    # Of normalized pixels, which leave the range, a level is as large as of others.
    level = MAX_VALUE[wanted.dtype.name] / 255
    return float((np.abs(made.astype(np.float64) - wanted).max(axis=2) <= LEVELS * level * (1 + 1e-6)).mean())


def on_device(op: Op, frame: Frame, device: str, only: int | None = None) -> list[NDArray[Any]]:
    """Return what a device makes of some images of a frame, or of one of them by itself."""
    from kaleidoscope.backends.torch import TorchBackend

    backend = TorchBackend(device)
    here = slice(None) if only is None else slice(only, only + 1)
    there = backend.upload(pictures(frame, _IMAGES)[here])
    return backend.download(backend.apply(there, moves(op, frame, _IMAGES)[here]))


def moves(op: Op, frame: Frame, count: int) -> list[list[Move]]:
    """Return the applications of an op to some images, each with a draw of its own."""
    return [
        list(moves_of(op, op.sample_params(stream(7, f"{number}.jpg", "node"), frame), frame))
        for number in range(count)
    ]


def pictures(frame: Frame, count: int) -> list[NDArray[Any]]:
    """Return parts of a photograph, with all of the range in them; further channels are its own, mirrored."""
    photograph = _photograph()
    made = []
    for number in range(count):
        part = photograph[40 * number :, 90 + 30 * number :][: frame.height, : frame.width]
        pixels = np.concatenate([part, part[::-1]], axis=2)[..., : frame.channels].astype(np.float64)
        spread = max(pixels.max() - pixels.min(), 1)
        values = (pixels - pixels.min()) / spread * frame.max_value
        made.append((values if frame.dtype == "float32" else np.rint(values)).astype(frame.dtype))
    return made


@cache
def _photograph() -> NDArray[np.uint8]:
    photograph = cv2.imread(str(samples.folder() / "astronaut.jpg"))
    if photograph is None:
        raise FileNotFoundError(samples.folder() / "astronaut.jpg")
    return np.ascontiguousarray(photograph[..., ::-1])
