"""What every op has to do, as tests to subclass."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np

from kaleidoscope import registry
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.follow import follow
from kaleidoscope.backends.moves import moves_of
from kaleidoscope.errors import OpError
from kaleidoscope.ops.base import Op, Params
from kaleidoscope.randomness import stream
from kaleidoscope.recipe import from_spec, to_spec
from kaleidoscope.record import MAX_VALUE, Frame
from kaleidoscope.targets import Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Heights and widths that ops are tried on: the smallest, the flattest, odd ones.
SIZES = ((1, 1), (1, 37), (41, 1), (2, 3), (31, 46), (64, 49))
CHANNELS = (1, 3, 4, 7)
#: Of these views are tried, too: the costliest of the tests.
_APART = ((1, 37), (31, 46))
#: Of the spot that is drawn at a keypoint: its standard deviation, in pixels.
_SPOT = 2.0
#: Of the disc that is drawn as a mask, in pixels.
_RADIUS = 9.0
_DISC = 7
#: How far from where its targets are something may lie in an outcome, in pixels of the source.
_NEAR = 1.0
#: And how far from a mask's outline pixels may differ from the mask: resampled and smoothed, both have moved a little.
_OUTLINE = 2.5


class _Poisoned(Cv2Backend):
    """Lends buffers full of leftovers, so that what an op does not fill shows."""

    def __init__(self, poison: int) -> None:
        super().__init__()
        self.poison = poison

    def take(self, frame: Frame) -> NDArray[Any]:
        """Return a buffer of that frame, every byte of it the poison."""
        out = super().take(frame)
        out.view(np.uint8)[...] = self.poison
        return out


class OpTests:
    """What holds for every op: subclass it in a test module of yours, and pytest runs it.

    Only `instances` has to be filled in. All other attributes say where an op of yours is different.

    Attributes
    ----------
    instances : sequence of Op
        What is tested: the op, with as many different settings as make a difference. They keep what is in the middle of
        an image of `scene`, and interpolate masks by ``nearest``.
    keeps_alpha : bool
        It is about colours: of four channels the last stays as it is.
    keeps_range : bool
        Of pixels in the range of their dtype it makes pixels in that range.
    identity : sequence of (Op, params)
        Ops and draws that change nothing.
    scene : Frame
        Of the image in which marks are followed.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> class TestHorizontalFlip(OpTests):
    ...     instances = (ops.HorizontalFlip(),)
    """

    instances: ClassVar[Sequence[Op]] = ()
    keeps_alpha: ClassVar[bool] = False
    keeps_range: ClassVar[bool] = True
    identity: ClassVar[Sequence[tuple[Op, Params]]] = ()
    scene: ClassVar[Frame] = Frame(65, 90, 3, "uint8")

    def takes(self, op: Op, frame: Frame) -> bool:
        """Return whether the op can do images of that frame; of others it has to say so by an `OpError`."""
        return True

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run each test for each op; pytest calls this."""
        if "op" in metafunc.fixturenames:
            metafunc.parametrize("op", self.instances, ids=repr)

    # ---- what it is made of

    def test_there_is_an_op_to_test(self) -> None:
        """A subclass names its ops."""
        assert self.instances, f"{type(self).__name__}.instances: expected the op, in its ways"
        for op in self.instances:
            assert isinstance(op, Op), f"expected an op, got {op!r}"
            name = getattr(op, "short_name", None)
            assert isinstance(name, str), f"{type(op).__name__}.short_name: expected lower-case letters and digits"
            assert re.fullmatch("[a-z0-9]+", name), f"short_name: expected lower-case letters and digits, got {name!r}"

    def test_travels(self, op: Op) -> None:
        """It arrives as it was from a pickle, from its repr, and from a recipe."""
        copies = {
            "pickle.loads(pickle.dumps(op))": pickle.loads(pickle.dumps(op)),  # noqa: S301 - it was just pickled
            "eval(repr(op))": eval(repr(op), _names(op)),  # noqa: S307 - it was just printed
            "from_spec(to_spec(op))": from_spec(json.loads(json.dumps(to_spec(op))), allow_functions=True),
        }
        for how, copy in copies.items():
            assert copy == op, f"{how}: expected {op!r}, got {copy!r}"
            assert hash(copy) == hash(op), f"{how}: {op!r} has another hash"

    def test_draws_json_from_its_stream_alone(self, op: Op) -> None:
        """What it draws is JSON, and the same for the same stream."""
        for frame in self._frames(op):
            drawn = [op.sample_params(stream(3, "a.jpg", "node"), frame) for _ in range(2)]
            assert drawn[0] == drawn[1], f"{op!r} drew {drawn[0]} and {drawn[1]} from the same stream"
            again = json.loads(json.dumps(drawn[0], allow_nan=False))
            assert again == drawn[0], f"{op!r} drew {drawn[0]}, which comes back from JSON as {again}"

    # ---- what it makes of pixels

    def test_refuses_frames_before_it_touches_pixels(self, op: Op) -> None:
        """What it cannot do it says by an OpError of `out_frame`, and nothing else."""
        for frame in _all_frames():
            try:
                op.out_frame(frame, op.sample_params(stream(0, "a.jpg", "node"), frame))
            except OpError:
                assert not self.takes(op, frame), f"{op!r} refuses {frame}"
            else:
                assert self.takes(op, frame), f"{op!r} was expected to refuse {frame} by an OpError"

    def test_fills_all_of_its_frame(self, op: Op) -> None:
        """It makes the frame that it announced, the same again, and depends on nothing that was in the buffer."""
        for frame in self._frames(op):
            src, params = _pixels(frame), self._draw(op, frame)
            made = [_apply(op, src, params, poison=poison) for poison in (0xAB, 0x3C)]
            wanted = op.out_frame(frame, params)
            assert Frame.of(made[0]) == wanted, f"{op!r} announced {wanted} for {frame}, and made {Frame.of(made[0])}"
            np.testing.assert_array_equal(made[0], made[1], err_msg=f"{op!r} of {frame} does not fill all of it")
            assert np.isfinite(made[0]).all(), f"{op!r} of {frame} made {made[0][~np.isfinite(made[0])][0]}"
            if self.keeps_range:
                assert made[0].min() >= 0, f"{op!r} of {frame} made {made[0].min()}"
                assert made[0].max() <= wanted.max_value, f"{op!r} of {frame} made {made[0].max()}"

    def test_only_reads_its_source(self, op: Op) -> None:
        """The source, which other variants start from, stays as it was, and is not what comes back."""
        for frame in self._frames(op):
            src = _pixels(frame)
            before = src.copy()
            for writeable in (True, False):
                src.flags.writeable = writeable
                made = _apply(op, src, self._draw(op, frame))
                np.testing.assert_array_equal(src, before, err_msg=f"{op!r} writes into its source")
                if op.window(src, self._draw(op, frame)) is None:
                    assert not np.may_share_memory(made, src), f"{op!r} hands its source out"

    def test_a_window_is_what_its_kernel_makes(self, op: Op) -> None:
        """An op that only cuts a part out hands out what its kernel would copy: that very part of its source."""
        for frame in self._frames(op):
            src, params = _pixels(frame), self._draw(op, frame)
            window = op.window(src, params)
            if window is not None:
                made = np.zeros(op.out_frame(frame, params).shape, src.dtype)
                op.kernel(src, params, made)
                np.testing.assert_array_equal(window, made, err_msg=f"{op!r} of {frame}: its window is another part")
                assert np.may_share_memory(window, src), f"{op!r} of {frame}: its window is a copy"

    def test_of_a_view_is_that_of_a_copy(self, op: Op) -> None:
        """Pixels that lie apart in memory are pixels."""
        for frame in self._frames(op):
            if (frame.height, frame.width) not in _APART:
                continue
            large = _pixels(Frame(2 * frame.height, frame.width + 5, frame.channels, frame.dtype))
            part = large[: frame.height, 3 : 3 + frame.width]
            params = self._draw(op, frame)
            for view in (part, large[::-2, 2 : 2 + frame.width], part[..., ::-1], np.asfortranarray(part)):
                made, wanted = (_apply(op, src, params) for src in (view, np.ascontiguousarray(view)))
                np.testing.assert_array_equal(made, wanted, err_msg=f"{op!r} of a view of {frame}")

    def test_of_one_drawing_is_one_outcome(self, op: Op) -> None:
        """Its params, as they come back from JSON, fix the outcome: it is what a manifest row is made again by."""
        for frame in self._frames(op):
            src, params = _pixels(frame), self._draw(op, frame)
            again = json.loads(json.dumps(params))
            np.testing.assert_array_equal(_apply(op, src, params), _apply(op, src, again), err_msg=f"{op!r}")

    def test_leaves_alpha_as_it_is(self, op: Op) -> None:
        """An op on colours leaves the last of four channels alone, and does not look at it."""
        if not self.keeps_alpha:
            return
        for frame in self._frames(op):
            if frame.channels == 4:
                src, params = _pixels(frame), self._draw(op, frame)
                other = src.copy()
                other[..., 3] = 0
                made, without = (_apply(op, one, params) for one in (src, other))
                np.testing.assert_array_equal(made[..., 3], src[..., 3], err_msg=f"{op!r} changes alpha")
                np.testing.assert_array_equal(made[..., :3], without[..., :3], err_msg=f"{op!r} looks at alpha")

    def test_of_nothing_is_identity(self) -> None:
        """Where it says that it changes nothing, it does not."""
        for op, params in self.identity:
            for frame in self._frames(op):
                src = _pixels(frame)
                made = _apply(op, src, params)
                np.testing.assert_array_equal(made, src, err_msg=f"{op!r} with {params} of {frame} changes something")

    # ---- what it does to targets

    def test_keypoints_go_where_their_pixels_go(self, op: Op) -> None:
        """A spot at a keypoint is found where the keypoint is, within a pixel."""
        found = 0
        for seed in range(4):
            params = self._draw(op, self.scene, seed)
            for x, y in ((0.5, 0.5), (0.35, 0.4), (0.6, 0.45), (0.45, 0.62)):
                point = round(x * (self.scene.width - 1)), round(y * (self.scene.height - 1))
                spot = np.exp(-((_distance(self.scene, *point) / _SPOT) ** 2) / 2)
                # Smoothed: of a spot an op on colours may make a ring.
                marked = cv2.GaussianBlur(
                    self._difference(op, spot, params), (0, 0), _SPOT, borderType=cv2.BORDER_CONSTANT
                )
                moved, _ = follow(Targets(keypoints=[[point]]), moves_of(op, params, self.scene))
                if not len(moved):
                    continue
                (to_x, to_y, _), found = moved.keypoints[0][0].tolist(), found + 1
                near = _distance(op.out_frame(self.scene, params), to_x, to_y) <= _NEAR * _growth(op, params, self)
                assert marked[near].max(initial=0) >= 0.95 * marked.max(), (
                    f"{op!r} with {params}: the pixels at {point} are at {_brightest(marked)}, the keypoint at "
                    f"({to_x:.1f}, {to_y:.1f})"
                )
        assert found, f"{op!r}: no keypoint in the middle of {self.scene} stayed in the frame"

    def test_masks_go_where_their_pixels_go(self, op: Op) -> None:
        """A disc in the image covers the disc in the mask, which has no values that it had not before."""
        point = self.scene.width // 2, self.scene.height // 2
        mask = np.where(_distance(self.scene, *point) <= _RADIUS, _DISC, 0).astype(np.uint8)
        for seed in range(4):
            params = self._draw(op, self.scene, seed)
            moved, _ = follow(Targets(masks={"disc": mask}), moves_of(op, params, self.scene))
            made, out = moved.masks["disc"], op.out_frame(self.scene, params)
            assert made.shape == (out.height, out.width), f"{op!r} makes a mask of {made.shape} beside {out}"
            strange = set(np.unique(made).tolist()) - {0, _DISC, getattr(op, "fill_mask", 0)}
            assert not strange, f"{op!r} makes mask values up: {sorted(strange)}"
            marked = self._difference(op, mask > 0, params)
            if not marked.any():
                continue  # the draw made everything one colour
            differs = (marked > 0.5 * marked.max()) != (made == _DISC)
            far = _far_from_outline(made == _DISC, _OUTLINE * _growth(op, params, self))
            assert not (differs & far).any(), f"{op!r} with {params}: its mask is not where its pixels are"

    # ---- what the tests are made of

    def _frames(self, op: Op) -> Iterator[Frame]:
        """Yield the frames that the op is tried on."""
        yield from (frame for frame in _all_frames() if self.takes(op, frame))

    def _draw(self, op: Op, frame: Frame, seed: int = 0) -> Params:
        return op.sample_params(stream(seed, "a.jpg", "node"), frame)

    def _difference(self, op: Op, mark: NDArray[Any], params: Params) -> NDArray[Any]:
        """Return how much a bright mark makes in the outcome, pixel by pixel; what it makes everywhere is taken off."""
        plain = np.full(self.scene.shape, 0.3)
        images = [
            (one * self.scene.max_value).astype(self.scene.dtype)
            for one in (plain, plain + 0.5 * mark[..., np.newaxis])
        ]
        without, with_spot = (_apply(op, one, params).mean(axis=-1, dtype=float) for one in images)
        change = with_spot - without
        seen: NDArray[Any] = np.abs(change - np.median(change))
        return seen


def _names(op: Op) -> dict[str, Any]:
    """Return what a repr may be made of."""
    ours = {name: registry.find_op(name) for name in registry.op_names()}
    return ours | {type(op).__name__: type(op)}


def _all_frames() -> Iterator[Frame]:
    for height, width in SIZES:
        for channels in CHANNELS:
            for dtype in MAX_VALUE:
                yield Frame(height, width, channels, dtype)


def _pixels(frame: Frame) -> NDArray[Any]:
    """Return random pixels, the least and the largest value among them."""
    values = np.random.default_rng(frame.nbytes).uniform(-0.1, 1.1, frame.shape).clip(0, 1) * frame.max_value
    return (values if frame.dtype == "float32" else np.rint(values)).astype(frame.dtype)


def _apply(op: Op, src: NDArray[Any], params: Params, poison: int = 0xAB) -> NDArray[Any]:
    """Return what the backend makes of pixels by an op, kernel or not."""
    return _Poisoned(poison).apply(src, moves_of(op, params, Frame.of(src)))


def _distance(frame: Frame, x: float, y: float) -> NDArray[np.float64]:
    """Return how far each pixel's centre lies from a point, shape (H, W)."""
    down, across = np.mgrid[: frame.height, : frame.width]
    distance: NDArray[np.float64] = np.hypot(across - x, down - y)
    return distance


def _brightest(marked: NDArray[Any]) -> tuple[int, int]:
    y, x = np.unravel_index(np.argmax(marked), marked.shape)
    return int(x), int(y)


def _growth(op: Op, params: Params, tests: OpTests) -> float:
    """Return how many pixels of the outcome one of the source is long, at least 1."""
    middle = (tests.scene.width / 2, tests.scene.height / 2)
    points = np.add(middle, [(0, 0), (5, 0), (0, 5)])
    moved, _ = follow(Targets(keypoints=[points]), moves_of(op, params, tests.scene))
    if not len(moved):
        return 1.0
    places = moved.keypoints[0][:, :2]
    return float(max(1.0, np.linalg.norm(places[1:] - places[0], axis=1).max() / 5))


def _far_from_outline(area: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """Return which pixels have only their like within a distance, inside of the area or outside."""
    size = 2 * round(distance) + 1
    around = np.ones((size, size), np.uint8)
    grown, shrunk = (change(area.astype(np.uint8), around) for change in (cv2.dilate, cv2.erode))
    return np.asarray(grown == shrunk)
