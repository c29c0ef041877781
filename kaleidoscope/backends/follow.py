"""Targets follow the pixels: through the same applications, whatever made the pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.backends.cv2 import warp_into
from kaleidoscope.backends.moves import Kernel, Move, Warp, moves_of
from kaleidoscope.coordinates import HALF, bounds, keeps_upright, move_points, outlines
from kaleidoscope.errors import OpError
from kaleidoscope.ops.base import Geometric, Op, Params
from kaleidoscope.ops.choose import Choice
from kaleidoscope.record import Frame
from kaleidoscope.targets import Targets

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Points on each side of a box that is moved by no matrix: its sides get bent.
_PER_SIDE = 16


def follow(targets: Targets, moves: Iterable[Move]) -> tuple[Targets, Counter[str]]:
    """Return the targets of an image after some applications.

    Returns
    -------
    Targets
        Clipped to the frame after each application.
    Counter
        ``clipped`` and ``dropped`` objects.

    Raises
    ------
    OpError
        If an op makes an image of another size and does not say where pixels went.
    """
    counts: Counter[str] = Counter()
    for move in moves:
        if isinstance(move, Kernel) and not move.op.moves_pixels:
            if (move.before.height, move.before.width) != (move.after.height, move.after.width):
                raise OpError(
                    f"{type(move.op).__name__} makes {move.after} of {move.before} and does not say where its pixels "
                    "went, so that targets cannot follow: it needs move_points and for_masks"
                )
            continue
        masks = {name: _moved_mask(mask, move) for name, mask in targets.masks.items()}
        moved = _moved_objects(targets.changed(masks=masks), move) if len(targets) else targets.changed(masks=masks)
        targets, clipped, dropped = moved.clipped(move.after.width, move.after.height)
        counts.update(clipped=clipped, dropped=dropped)
    return targets, +counts


def draw_params(op: Op, rng: Generator, frame: Frame, targets: Targets | None) -> Params:
    """Return what an op draws for an image of that frame, with the labels it has there, if it looks at them.

    Inside a choice they are followed to where it looks: through what was drawn before it, and only then.
    """
    if not op.needs_targets:
        return op.sample_params(rng, frame)
    if not isinstance(op, Choice):
        return op.sample_params_for(rng, frame, targets)

    def targets_at(params: Params) -> Targets | None:
        return None if targets is None else follow(targets, moves_of(op, params, frame))[0]

    return op.sample_params_at(rng, frame, targets_at)


def _moved_mask(mask: NDArray[Any], move: Move) -> NDArray[Any]:
    src = mask[..., np.newaxis]
    frame = Frame.of(src)
    out = np.empty((move.after.height, move.after.width, 1), mask.dtype)
    if isinstance(move, Kernel):
        op = move.op.for_masks()
        op.out_frame(frame, move.params)  # refuses what this dtype cannot hold
        op.kernel(src, move.params, out)
        return out[..., 0]
    how = move.resampling and move.resampling.for_masks()
    if how is not None and np.max(how.fill) > frame.max_value:
        raise OpError(
            f"fill_mask={how.fill!r}: expected at most {frame.max_value:g}, the most of a mask as {mask.dtype}"
        )
    warp_into(out, src, move.matrix, how)
    return out[..., 0]


def _moved_objects(targets: Targets, move: Move) -> Targets:
    """Return the objects where the pixels went, clipped by nothing."""
    matrix, method = None, "largest_box"
    if isinstance(move, Warp):
        matrix = move.matrix
        method = move.resampling.rotate_method if move.resampling else method
    elif isinstance(move.op, Geometric):
        matrix = move.op.matrix(move.before, move.params)

    def to(points: Floats) -> Floats:
        if matrix is not None:
            return move_points(points, matrix)
        return _moved_by(move, points) if len(points) else points  # type: ignore[arg-type]  # it is a Kernel

    upright = matrix is not None and keeps_upright(matrix)
    boxes, known = targets.boxes.copy(), ~np.isnan(targets.boxes[:, 0])
    shape = outlines(
        boxes[known], method="largest_box" if upright else method, per_side=1 if matrix is not None else _PER_SIDE
    )
    boxes[known] = bounds((to(shape.reshape(-1, 2) - HALF) + HALF).reshape(shape.shape))
    rings = iter(_moved([ring - HALF for rings in targets.polygons for ring in rings], to))
    polygons = tuple(tuple(next(rings) + HALF for _ in before) for before in targets.polygons)
    if not upright:
        for i, its_rings in enumerate(polygons):
            if its_rings:
                boxes[i] = bounds(np.concatenate(its_rings))
    places = _moved([points[:, :2] for points in targets.keypoints], to)
    for place, points in zip(places, targets.keypoints, strict=True):
        place[points[:, 2] == 0] = 0.0  # what is not there is nowhere
    keypoints = tuple(
        np.concatenate([place, points[:, 2:]], axis=1) if len(points) else points
        for place, points in zip(places, targets.keypoints, strict=True)
    )
    return targets.changed(boxes=boxes, polygons=polygons, keypoints=keypoints)


def _moved_by(move: Kernel, points: Floats) -> Floats:
    """Return points where an op says that they go, which may be anybody's op."""
    moved = np.asarray(move.op.move_points(points, move.before, move.params), dtype=np.float64)
    if moved.shape != points.shape or not np.isfinite(moved).all():
        raise OpError(
            f"{type(move.op).__name__}.move_points: expected a finite place for each of {len(points)} points, shape "
            f"{points.shape}, got shape {moved.shape}"
        )
    return moved


def _moved(arrays: Sequence[Floats], to: Callable[[Floats], Floats]) -> list[Floats]:
    """Return arrays of points, each of shape (K, 2), moved together."""
    if not arrays:
        return []
    ends = np.cumsum([len(array) for array in arrays])
    return np.split(to(np.concatenate(arrays)), ends[:-1])
