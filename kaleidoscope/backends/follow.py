"""Targets follow the pixels: through the same applications, whatever made the pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaleidoscope.backends.cv2 import warp_into
from kaleidoscope.backends.moves import Kernel, Move, Warp, moves_of
from kaleidoscope.coordinates import (
    HALF,
    bounds,
    clip_polygon,
    cut_behind,
    keeps_upright,
    move_points,
    outlines,
)
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
#: Pixels between the points that a polygon's sides get before they are bent, and off the straight line that are bent.
_APART, _BENT = 4.0, 0.1


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
    if isinstance(move, Kernel) and (pieces := move.op.pieces(move.before, move.params)) is not None:
        return _moved_in_pieces(targets, move, pieces)
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
    boxes = _moved_boxes(targets.boxes, matrix, to, method="largest_box" if upright else method)
    polygons = _moved_polygons(targets.polygons, matrix, to)
    if not upright:
        for i, its_rings in enumerate(polygons):
            if its_rings:
                boxes[i] = bounds(np.concatenate(its_rings))
    keypoints = _moved_keypoints(targets.keypoints, to)
    return targets.changed(boxes=boxes, polygons=polygons, keypoints=keypoints)


def _in_perspective(matrix: Floats | None) -> bool:
    return matrix is not None and bool(matrix[2, :2].any())


def _moved_boxes(before: Floats, matrix: Floats | None, to: Callable[[Floats], Floats], *, method: str) -> Floats:
    """Return the bounds of what boxes, shape (N, 4), become; `matrix` is that of `to`, if it has one."""
    boxes, known = before.copy(), ~np.isnan(before[:, 0])
    # Straight lines stay straight by a matrix, and so their ends have the bounds.
    shape = outlines(before[known], method=method, per_side=1 if matrix is not None else _PER_SIDE) - HALF
    boxes[known] = bounds((to(shape.reshape(-1, 2)) + HALF).reshape(shape.shape))
    if matrix is not None and _in_perspective(matrix):
        for i, outline in zip(np.flatnonzero(known).tolist(), shape, strict=True):
            front = cut_behind(outline, matrix)
            if front is not outline:
                boxes[i] = bounds(to(front) + HALF) if len(front) else 0.0
    return boxes


def _moved_polygons(
    before: Sequence[Sequence[Floats]], matrix: Floats | None, to: Callable[[Floats], Floats]
) -> tuple[tuple[Floats, ...], ...]:
    """Return what polygons become; `matrix` is that of `to`, if it has one."""
    rings = [ring - HALF for rings in before for ring in rings]
    if matrix is None:
        rings = _bent(rings, to)
    elif _in_perspective(matrix):
        rings = _moved([cut_behind(ring, matrix) for ring in rings], to)
    else:
        rings = _moved(rings, to)
    left = iter(rings)
    return tuple(tuple(ring + HALF for ring in [next(left) for _ in rings] if len(ring)) for rings in before)


def _moved_keypoints(before: Sequence[Floats], to: Callable[[Floats], Floats]) -> tuple[Floats, ...]:
    """Return where keypoints, each of shape (K, 3) with their visibility, go."""
    keypoints = [points.copy() for points in before]
    for place, points in zip(_moved([points[:, :2] for points in before], to), keypoints, strict=True):
        if len(points):
            points[:, :2] = np.where(points[:, 2:] == 0, 0.0, place)  # what is not there is nowhere
    return tuple(keypoints)


def _bent(rings: Sequence[Floats], to: Callable[[Floats], Floats]) -> list[Floats]:
    """Return polygons moved by what bends their sides: with points on those sides that are straight no more."""
    made = []
    fine = [_with_points_on_sides(ring) for ring in rings]
    for ring, (_, side) in zip(_moved([points for points, _ in fine], to), fine, strict=True):
        first = np.flatnonzero(np.diff(side, prepend=-1))  # the corners
        start, along = ring[first], np.roll(ring[first], -1, axis=0) - ring[first]
        (dx, dy), (x, y) = along[side].T, (ring - start[side]).T
        off = np.abs(x * dy - y * dx) / np.maximum(np.hypot(dx, dy), np.finfo(float).tiny)
        most = np.maximum.reduceat(off, first) if len(ring) else off
        made.append(ring[(most > _BENT)[side] | (np.diff(side, prepend=-1) > 0)])
    return made


def _with_points_on_sides(ring: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Return a polygon with points on its sides, and for each point the side that it lies on or begins."""
    along = np.roll(ring, -1, axis=0) - ring
    count = np.maximum(1, np.ceil(np.hypot(along[:, 0], along[:, 1]) / _APART)).astype(int)
    side = np.repeat(np.arange(len(ring)), count)
    share = (np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count)) / count[side]
    return ring[side] + share[:, np.newaxis] * along[side], side


def _moved_in_pieces(targets: Targets, move: Kernel, pieces: Sequence[tuple[Floats, Floats]]) -> Targets:
    """Return the objects where the pieces of the image went, cut as it was."""
    boxes, known = targets.boxes.copy(), ~np.isnan(targets.boxes[:, 0])
    polygons = []
    for i, rings in enumerate(targets.polygons):
        parts = [
            part + piece[:2] + shift
            for piece, shift in pieces
            for ring in rings
            for part in clip_polygon(ring - piece[:2], *(piece[2:] - piece[:2]))
        ]
        polygons.append(tuple(parts))
        if parts:
            boxes[i] = bounds(np.concatenate(parts))
        elif known[i]:
            inside = [np.clip(targets.boxes[i].reshape(2, 2), piece[:2], piece[2:]) + shift for piece, shift in pieces]
            there = [box for box in inside if (box[1] > box[0]).all()]
            boxes[i] = bounds(np.concatenate(there)) if there else 0.0
    keypoints = _moved_keypoints(targets.keypoints, lambda points: _moved_by(move, points))
    return targets.changed(boxes=boxes, polygons=tuple(polygons), keypoints=keypoints)


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
