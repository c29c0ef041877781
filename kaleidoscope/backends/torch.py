"""Devices that torch knows: batches of images of one frame, moved there once, and the ops' own kernels for them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.moves import Move, Warp
from kaleidoscope.codecs import Encoder
from kaleidoscope.codecs.device import encode_there
from kaleidoscope.errors import OpError, ResourceError
from kaleidoscope.ops.device import kernel_of, runs_on_device, warps_on_device
from kaleidoscope.outcome import Encoded
from kaleidoscope.record import Frame
from kaleidoscope.settings import DEFAULTS

try:
    import torch
except ImportError as error:  # it is an extra
    raise ResourceError(
        "ops on a device need torch, which is not installed: pip install 'kaleidoscope[gpu]', or device='cpu'"
    ) from error

from kaleidoscope.backends.torch_warp import permuted, warped
from kaleidoscope.ops.device.values import DTYPES, movable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where one image's pixels lie on a device: a row of a batch.

    Parameters
    ----------
    batch : Tensor of shape (N, C, H, W)
        Shared: nobody writes to it.
    row : int
        Which of the N.
    frame : Frame
        Of the image.
    """

    batch: Tensor
    row: int
    frame: Frame


def device_here() -> str:
    """Return the name of this process's GPU as torch has it; of its CPU where a worker is labelled GPU without one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class TorchBackend:
    """Applies ops to batches of images on one device.

    One per task: what it learns about memory belongs to one thread.

    Parameters
    ----------
    device : str
        As torch names it: ``cuda``, ``cuda:1``, ``cpu`` for tests.
    batch_bytes : int
        The most bytes of pixels that a batch starts with, at least one image. What is on the device at one time is a
        small multiple of it for each step of a path, as pixels are computed as ``float32``.

    Attributes
    ----------
    counts : Counter
        ``kernel``, ``warp`` and ``permutation`` applied to images; ``batch`` calls that were made for them, ``upload``
        and ``download``, each of a batch; ``encoded_there``, images that were encoded on the device; ``on_cpu``, images
        that an op without a kernel took back; and ``halved``, how often memory did not suffice.

    Raises
    ------
    ResourceError
        If there is no such device.
    """

    def __init__(self, device: str = "cuda", *, batch_bytes: int = DEFAULTS["device-batch-bytes"]) -> None:
        self.counts: Counter[str] = Counter()
        try:
            self.device = torch.empty(1, device=device).device
        except (RuntimeError, AssertionError, ValueError) as error:  # torch raises what its builds raise
            raise ResourceError(f"expected a device of torch, got {device!r}, which is not here: {error}") from error
        self._batch_bytes = batch_bytes
        self._cpu = Cv2Backend()

    def batch_size(self, frame: Frame) -> int:
        """Return how many images of that frame a batch starts with."""
        return max(1, self._batch_bytes // frame.nbytes)

    # ---- there and back

    def upload(self, images: Sequence[NDArray[Any]]) -> list[Place]:
        """Move images, each of shape (H, W, C), to the device: those of one frame together."""
        places: dict[int, Place] = {}
        frames = [Frame.of(image) for image in images]
        for members in _grouped(frames):
            frame = frames[members[0]]
            # Pinned memory, which the device reads by itself, at several times the speed of other memory.
            shape, pinned = (len(members), *frame.shape), self.device.type == "cuda"
            host = torch.empty(shape, dtype=DTYPES[frame.dtype], pin_memory=pinned)
            for row, member in zip(_as_arrays(host), members, strict=True):
                np.copyto(row, images[member])
            there = movable(host).to(self.device, non_blocking=True).permute(0, 3, 1, 2).contiguous()
            self.counts["upload"] += 1
            batch = there.view(host.dtype)
            places |= {member: Place(batch, row, frame) for row, member in enumerate(members)}
        return [places[i] for i in range(len(images))]

    def download(self, places: Sequence[Place]) -> list[NDArray[Any]]:
        """Return the pixels of images, each of shape (H, W, C): those of one frame moved together."""
        images: dict[int, NDArray[Any]] = {}
        for members in _grouped(place.frame for place in places):
            batch = _together([places[member] for member in members])
            there = movable(batch).permute(0, 2, 3, 1).contiguous()
            host = torch.empty(there.shape, dtype=there.dtype, pin_memory=self.device.type == "cuda")
            host.copy_(there)
            self.counts["download"] += 1
            images |= dict(zip(members, _as_arrays(host.view(batch.dtype)), strict=True))
        return [images[i] for i in range(len(places))]

    def finished(self, places: Sequence[Place], encoder: Encoder) -> list[NDArray[Any] | Encoded]:
        """Return images as files, encoded where they lie and those of one frame together, or as their pixels.

        Pixels are for the CPU to encode: what the device has no encoder for. See `encode_there`.

        Raises
        ------
        OpError
            If the device's encoder fails.
        """
        finished: dict[int, NDArray[Any] | Encoded] = {}
        for members in _grouped(place.frame for place in places):
            some = [places[member] for member in members]
            files = encode_there(_together(some), encoder)
            made = self.download(some) if files is None else [Encoded(file, some[0].frame) for file in files]
            self.counts["encoded_there"] += 0 if files is None else len(files)
            finished |= dict(zip(members, made, strict=True))
        return [finished[i] for i in range(len(places))]

    # ---- ops

    def apply(self, sources: Sequence[Place], moves: Sequence[Sequence[Move]]) -> list[Place]:
        """Return what some applications, one after another, make of each image.

        Images for which the same op comes next are done together, whatever came before. Nothing drawn: nothing moved.

        Parameters
        ----------
        sources : sequence of Place
        moves : sequence of sequences of Move
            Those of each image; more or fewer where a choice was drawn.
        """
        now = list(sources)
        for step in range(max(map(len, moves), default=0)):
            members = [i for i, mine in enumerate(moves) if step < len(mine)]
            for group in _grouped(_kind(moves[i][step], now[i].frame) for i in members):
                chosen = [members[i] for i in group]
                made = self._apply_one([now[i] for i in chosen], [moves[i][step] for i in chosen])
                for i, place in zip(chosen, made, strict=True):
                    now[i] = place
        return _joined(now)

    def _apply_one(self, sources: Sequence[Place], moves: Sequence[Move]) -> list[Place]:
        """Apply one op, or warps of one resampling, to images of one frame."""
        move = moves[0]
        if not (warps_on_device(move.resampling) if isinstance(move, Warp) else runs_on_device(move.op)):
            return self._on_cpu(sources, moves)
        batch = _together(sources)
        if isinstance(move, Warp):
            matrices = [each.matrix for each in moves if isinstance(each, Warp)]
            if move.resampling is None:
                what, made = "permutation", permuted(batch, move.matrix)
            else:
                what, made = "warp", warped(batch, matrices, move.resampling, move.after)
        else:
            params = [each.params for each in moves if not isinstance(each, Warp)]
            what, made = "kernel", kernel_of(move.op)(batch, params)
            _check(made, batch, move.after, type(move.op).__name__)
        self.counts[what] += len(sources)
        self.counts["batch"] += 1
        return [Place(made, row, move.after) for row in range(len(sources))]

    def _on_cpu(self, sources: Sequence[Place], moves: Sequence[Move]) -> list[Place]:
        """Apply an op that has no kernel for a device where it has one."""
        made = []
        try:
            for image, move in zip(self.download(sources), moves, strict=True):
                made.append(self._cpu.apply(image, [move]))
            self.counts["on_cpu"] += len(made)
            return self.upload(made)
        finally:
            for image in made:
                self._cpu.release(image)

    # ---- memory

    def out_of_memory(self, error: BaseException, images: int) -> bool:
        """Return whether memory did not suffice for so many images; if so, batches are smaller from now on."""
        if not isinstance(error, torch.OutOfMemoryError):
            return False
        self.counts["halved"] += 1
        if images > 1:
            self._batch_bytes = max(1, self._batch_bytes // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return True


def _grouped(keys: Iterable[Hashable]) -> list[list[int]]:
    """Return the places of equal keys together, in the order in which they first come."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        groups[key].append(place)
    return list(groups.values())


def _kind(move: Move, frame: Frame) -> Hashable:
    """Return what is equal for applications that can be done together."""
    if not isinstance(move, Warp):
        return (id(move.op), frame, move.after)
    exact = None if move.resampling else tuple(move.matrix.round().ravel().tolist())
    return (move.resampling, exact, frame, move.after)


def _together(places: Sequence[Place]) -> Tensor:
    """Return the images as one batch: the one that they are, if they are all of it."""
    batch = places[0].batch
    rows = [place.row for place in places]
    if all(place.batch is batch for place in places):
        if rows == list(range(len(batch))):
            return batch
        index = torch.tensor(rows, device=batch.device)
        return movable(batch).index_select(0, index).view(batch.dtype)
    return torch.stack([movable(place.batch)[place.row] for place in places]).view(batch.dtype)


def _joined(places: list[Place]) -> list[Place]:
    """Return images of one frame in one batch, so that what comes after them does not put them together anew."""
    for members in _grouped(place.frame for place in places):
        if len({id(places[i].batch) for i in members}) > 1:
            batch = _together([places[i] for i in members])
            for row, i in enumerate(members):
                places[i] = replace(places[i], batch=batch, row=row)
    return places


def _as_arrays(host: Tensor) -> NDArray[Any]:
    """Return a tensor in the CPU's memory as an array, not copied."""
    array: NDArray[Any] = movable(host).numpy()
    return array.view(np.uint16) if host.dtype == torch.uint16 else array


def _check(made: object, batch: Tensor, after: Frame, name: str) -> None:
    """Refuse what a kernel returns that is not the batch that its op announced."""
    wanted = (len(batch), after.channels, after.height, after.width)
    if not isinstance(made, torch.Tensor) or made.shape != wanted or made.dtype != DTYPES[after.dtype]:
        got = f"{tuple(made.shape)} {made.dtype}" if isinstance(made, torch.Tensor) else type(made).__name__
        raise OpError(f"{name}: expected its device kernel to make {wanted} {DTYPES[after.dtype]}, got {got}")
