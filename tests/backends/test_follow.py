from dataclasses import replace

import cv2
import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.follow import follow
from kaleidoscope.backends.moves import Warp, moves_of
from kaleidoscope.errors import OpError
from kaleidoscope.ops.base import Geometric, Op, Resampling, op
from kaleidoscope.ops.combine import as_recipe
from kaleidoscope.plan import make_plan
from kaleidoscope.record import Frame
from kaleidoscope.targets import Targets
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk

HEIGHT, WIDTH = 20, 30
FRAME = Frame(HEIGHT, WIDTH, 3, "uint8")
BOX = (4, 3, 12, 9)


def labelled(**more):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:9, 4:12] = 7
    return Targets(**{"boxes": [BOX], "classes": ["cat"], "keypoints": [[(5, 4)]], "masks": {"class": mask}} | more)


def followed(part, params, targets, frame=FRAME):
    return follow(targets, moves_of(part, params, frame))


def outcomes(recipe, targets, seed=0):
    pixels = np.zeros(FRAME.shape, np.uint8)
    plan = make_plan(grow(as_recipe(recipe)))
    return {o.variant: o for o in walk(plan, pixels, key="a", seed=seed, backend=Cv2Backend(), targets=targets)}


@op
class Halve(Op):
    """Makes the image half as large, and does not say so."""

    short_name = "halve"

    def out_frame(self, frame, params):
        return replace(frame, height=frame.height // 2, width=frame.width // 2)

    def kernel(self, src, params, out):
        out[:] = src[::2, ::2][: out.shape[0], : out.shape[1]]


@op
class Bend(Op):
    """Shifts row y by ``y**2 / 40`` pixels to the right: straight lines get bent."""

    wrong: str = ""
    short_name = "bend"

    def _shift(self, y):
        return y**2 / 40

    def move_points(self, points, frame, params):
        assert np.isfinite(points).all()
        assert len(points)
        moved = points + np.stack([self._shift(points[:, 1]), np.zeros(len(points))], axis=1)
        if self.wrong == "nan":
            moved[0] = np.nan
        return moved[:-1] if self.wrong == "fewer" else moved

    def kernel(self, src, params, out):
        out[:] = 0
        for y, row in enumerate(src):
            shift = round(self._shift(y))
            out[y, shift:] = row[: len(row) - shift]


class TestMoves:
    def test_are_applied_to_every_column(self):
        moved, counts = followed(ops.HorizontalFlip(), {}, labelled())
        assert moved.boxes.tolist() == [[18, 3, 26, 9]]
        assert moved.keypoints[0].tolist() == [[24, 4, 2]]
        assert moved.classes == ("cat",)
        np.testing.assert_array_equal(moved.masks["class"], labelled().masks["class"][:, ::-1])
        assert not counts

    def test_that_leave_pixels_in_their_places_share_everything(self):
        for part in (ops.GaussianBlur(), ops.RandomBrightnessContrast(), ops.GaussNoise(), ops.Normalize()):
            targets = labelled()
            moved, counts = followed(part, part.sample_params(np.random.default_rng(0), FRAME), targets)
            assert moved is targets
            assert not counts

    def test_count_what_they_cut_and_what_they_drop(self):
        targets = Targets(boxes=[(0, 0, 4, 4), (8, 4, 14, 8), (12, 6, 16, 10)])
        moved, counts = followed(ops.RandomCrop(10, 10), {"left": 10, "top": 5}, targets)
        assert counts == {"clipped": 1, "dropped": 1}
        assert moved.boxes.tolist() == [[0, 0, 4, 3], [2, 1, 6, 5]]
        assert moved.visible.tolist() == [0.5, 1]

    def test_of_an_image_without_objects_move_its_masks(self):
        moved, counts = followed(ops.Transpose(), {}, Targets(masks={"m": np.eye(HEIGHT, WIDTH) > 0}))
        np.testing.assert_array_equal(moved.masks["m"], np.eye(WIDTH, HEIGHT))
        assert not counts

    def test_keep_a_box_as_it_was_given_while_its_sides_stay_upright(self):
        # Looser than its polygon, as people draw them.
        targets = Targets(boxes=[(2, 2, 12, 12)], polygons=[[(4, 4), (10, 4), (7, 10)]])
        for part, params, box in (
            (ops.VerticalFlip(), {}, (2, 8, 12, 18)),
            (ops.Rotate(), {"angle": 180.0}, (18, 8, 28, 18)),
            (ops.Rotate(), {"angle": 0.0}, (2, 2, 12, 12)),
            (ops.Resize(40, 30), {}, (2, 4, 12, 24)),
            (ops.Pad(3), {}, (5, 5, 15, 15)),
        ):
            np.testing.assert_allclose(followed(part, params, targets)[0].boxes, [box], atol=1e-9)
        turned, _ = followed(ops.Rotate(), {"angle": 20.0}, targets)
        ((ring,),) = turned.polygons
        assert turned.boxes[0].tolist() == [*ring.min(axis=0), *ring.max(axis=0)]

    def test_of_objects_without_a_box_make_none(self):
        moved, _ = followed(ops.Rotate(), {"angle": 20.0}, Targets(keypoints=[[(15, 10)]], boxes=[None]))
        assert np.isnan(moved.boxes).all()


class TestMasks:
    def test_are_filled_beyond_the_border(self):
        targets = labelled()
        for part, params in (
            (ops.Pad(2, fill=9, fill_mask=200), {}),
            (ops.CenterCrop(24, 34, pad_if_needed=True, fill_mask=200), {"left": -2, "top": -2}),
            (
                ops.Affine(fill_mask=200),
                {"scale": [1.0, 1.0], "translate": [2, 2], "rotate": 0.0, "shear": [0.0, 0.0]},
            ),
        ):
            mask = followed(part, params, targets)[0].masks["class"]
            assert (mask[:2] == 200).all()
            assert (mask[:, :2] == 200).all()
            assert (mask[2 : HEIGHT - 2, 2 : WIDTH - 2] == targets.masks["class"][: HEIGHT - 4, : WIDTH - 4]).all()

    @pytest.mark.parametrize(
        ("part", "params"),
        [
            (ops.Rotate(fill_mask=256), {"angle": 10.0}),
            (ops.Pad(1, fill_mask=256), {}),
            (ops.CenterCrop(99, 99, pad_if_needed=True, fill_mask=256), {"left": -30, "top": -30}),
        ],
        ids=str,
    )
    def test_are_refused_a_fill_that_they_cannot_hold(self, part, params):
        with pytest.raises(OpError, match=r"fill.*=256.0.*at most 255"):
            followed(part, params, labelled())
        large = {name: mask.astype(np.uint16) for name, mask in labelled().masks.items()}
        assert 256 in followed(part, params, labelled(masks=large))[0].masks["class"]

    def test_have_an_interpolation_of_their_own(self):
        targets = labelled()
        linear = ops.Rotate(mask_interpolation="linear", interpolation="nearest")
        assert len(np.unique(followed(linear, {"angle": 20.0}, targets)[0].masks["class"])) > 2
        assert len(np.unique(followed(ops.Resize(31, 41), {}, targets)[0].masks["class"])) == 2

    def test_of_several_names_go_the_same_way(self):
        one = labelled().masks["class"]
        masks = {"a": one, "b": one.astype(np.uint16) * 300, "c": one > 0}
        moved = followed(ops.Rotate(), {"angle": 33.0}, Targets(masks=masks))[0].masks
        assert moved["b"].dtype == np.uint16
        np.testing.assert_array_equal(moved["b"], moved["a"].astype(np.uint16) * 300)
        np.testing.assert_array_equal(moved["c"], moved["a"] > 0)


class TestRuns:
    def test_of_geometry_are_clipped_once(self):
        targets = labelled(boxes=[(0, 0, 5, 4)])
        there, back = ops.Rotate((45, 45)), ops.Rotate((-45, -45))
        fused = outcomes(ops.Sequential(there, back), targets)["rotate-rotate2"]
        np.testing.assert_allclose(fused.targets.boxes, [(0, 0, 5, 4)], atol=1e-9)
        assert [dict(step.targets) for step in fused.lineage] == [{}, {}]
        apart = outcomes(ops.Sequential(there, ops.GaussianBlur(), back), targets)["rotate-blur-rotate2"]
        assert 0 < apart.targets.visible[0] < 0.6
        assert [dict(step.targets) for step in apart.lineage] == [{"clipped": 1}, {}, {"clipped": 1}]

    def test_count_at_the_step_that_made_the_pixels(self):
        found = outcomes([ops.HorizontalFlip(), ops.Rotate((45, 45))], labelled(boxes=[(0, 0, 5, 4)]))
        assert [dict(s.targets) for s in found["hflip-rotate"].lineage] == [{}, {"dropped": 1}]
        assert '"targets":{"dropped":1}' in found["hflip-rotate"].lineage[1].text
        assert [dict(s.targets) for s in found["hflip"].lineage] == [{}]
        assert len(found["original"].targets) == 1

    @pytest.mark.parametrize("seed", range(8))
    def test_of_a_choice_are_those_of_what_was_drawn(self, seed):
        choice = ops.SomeOf(ops.HorizontalFlip(), ops.Rotate(30), ops.CenterCrop(12, 20), ops.GaussianBlur(), n=(0, 4))
        (outcome,) = outcomes(choice, labelled(), seed).values()
        (step,) = outcome.lineage
        targets, frame = labelled(), FRAME
        parts = list(choice.steps(step.params))
        if [type(part) for part, _ in parts[:2]] == [ops.HorizontalFlip, ops.Rotate]:
            matrix = parts[1][0].matrix(frame, parts[1][1]) @ parts[0][0].matrix(frame, {})
            assert next(iter(moves_of(choice, step.params, frame))).matrix.tolist() == matrix.tolist()
            targets, _ = follow(targets, list(moves_of(choice, step.params, frame))[:1])
            parts = parts[2:]
        for part, params in parts:
            targets, _ = followed(part, params, targets, frame)
            frame = part.out_frame(frame, params)
        assert outcome.targets == targets


class TestPerspective:
    MATRIX = np.array([[1.0, 0, 0], [0, 1, 0], [-0.05, 0, 1]])  # the horizon is at x = 20

    def test_cuts_off_what_reaches_behind_the_camera(self):
        targets = Targets(
            boxes=[(2, 2, 6, 6), (15, 2, 25, 6), (22, 2, 28, 6), None],
            polygons=[None, None, None, [(15, 2), (25, 2), (25, 6), (15, 6)]],
            keypoints=[[(3, 3)], [(16, 3), (24, 4)], [(23, 3)], None],
            ids=[0, 1, 2, 3],
        )
        out = Frame(400, 600, 3, "uint8")
        moved, counts = follow(targets, [Warp(self.MATRIX, Resampling(), FRAME, out)])
        assert list(moved.ids) == [0, 1, 3]  # the third is behind it altogether
        assert counts["dropped"] == 1
        assert moved.boxes[1, 0] == pytest.approx(15 / (1 - 14.5 * 0.05), abs=3)
        assert moved.boxes[1, 2] == 600  # towards the horizon there is no end
        np.testing.assert_allclose(moved.boxes[1, :3], moved.boxes[2, :3], atol=1e-6)
        assert moved.keypoints[1][:, 2].tolist() == [2, 0]

    def test_moves_a_box_by_its_corners(self):
        matrix = np.array([[1.1, 0.1, 1], [-0.05, 0.9, 2], [0.002, 0.003, 1]])
        moved, _ = follow(labelled(), [Warp(matrix, Resampling(), FRAME, FRAME)])
        x1, y1, x2, y2 = np.subtract(BOX, 0.5)
        seen = cv2.perspectiveTransform(np.array([[(x1, y1), (x2, y1), (x2, y2), (x1, y2)]]), matrix)[0] + 0.5
        np.testing.assert_allclose(moved.boxes, [[*seen.min(axis=0), *seen.max(axis=0)]])


class TestOpsOfOthers:
    def test_that_bend_lines_move_points_along_the_sides(self):
        targets = Targets(boxes=[(2, 0, 6, 20), None], keypoints=[[(3, 10)], [(1, 4)]])
        moved, _ = followed(Bend(), {}, targets)
        # The lower side's points are at y = 19.5, centres.
        np.testing.assert_allclose(moved.boxes[0], [2, 0, 6 + 19.5**2 / 40, 20], atol=0.02)
        assert moved.keypoints[0].tolist() == [[5.5, 10, 2]]
        assert np.isnan(moved.boxes[1]).all()

    def test_that_bend_lines_put_points_on_the_sides_of_polygons(self):
        square = np.array([(2.0, 2), (12, 2), (12, 18), (2, 18)])
        moved, _ = followed(Bend(), {}, Targets(polygons=[square]))
        ring = moved.polygons[0][0]
        # Its upright sides are parabolas now, in steps of at most 4 pixels; the level ones need no points.
        assert len(ring) == 4 + 2 * 3
        np.testing.assert_allclose(
            ring[:, 0] - (ring[:, 1] - 0.5) ** 2 / 40, np.where(ring[:, 0] < 11.5, 2, 12), atol=0.01
        )

    def test_that_bend_nothing_put_no_points_there(self):
        still = ops.GridDistortion()
        moved, _ = followed(
            still, {"steps_x": [1.0] * 6, "steps_y": [1.0] * 6}, Targets(polygons=[[(2, 2), (25, 2), (9, 18)]])
        )
        np.testing.assert_allclose(moved.polygons[0][0], [(2, 2), (25, 2), (9, 18)], atol=1e-9)

    def test_are_asked_for_no_points_where_there_are_none(self):
        assert len(followed(Bend(), {}, Targets())[0]) == 0

    @pytest.mark.parametrize(("wrong", "shape"), [("nan", r"\(64, 2\)"), ("fewer", r"\(63, 2\)")])
    def test_that_lose_points_are_refused(self, wrong, shape):
        with pytest.raises(OpError, match=rf"Bend.move_points: expected a finite place for each of 64 .*got .*{shape}"):
            followed(Bend(wrong), {}, labelled())

    def test_that_make_another_frame_must_say_where_pixels_went(self):
        found = outcomes([Halve(), ops.HorizontalFlip()], labelled())
        assert isinstance(found["halve"].error, OpError)
        assert "Halve makes 15x10x3 uint8 of 30x20x3 uint8" in str(found["halve"].error)
        assert found["halve"].error.step == "halve"
        assert found["halve-hflip"].error is not None
        assert found["hflip"].error is None
        assert found["hflip"].targets.boxes.tolist() == [[18, 3, 26, 9]]
        assert outcomes([Halve()], None)["halve"].error is None  # nothing is labelled: nothing is lost

    def test_that_are_geometric_with_a_kernel_follow_their_matrix(self):
        @op
        class Twice(Geometric):
            short_name = "twice"
            fuses = False

            def out_frame(self, frame, params):
                return replace(frame, height=2 * frame.height, width=2 * frame.width)

            def matrix(self, frame, params):
                return np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1.0]])

            def kernel(self, src, params, out):
                np.copyto(out, src.repeat(2, axis=0).repeat(2, axis=1))

        moved, _ = followed(Twice(), {}, labelled())
        assert moved.boxes.tolist() == [[8, 6, 24, 18]]
        assert moved.masks["class"][6:18, 8:24].min() == 7


def test_nothing_that_was_given_is_changed():
    targets = labelled(polygons=[[(4, 3), (12, 3), (8, 9)]])
    for array in (targets.boxes, targets.visible, targets.keypoints[0], targets.polygons[0][0], targets.masks["class"]):
        array.flags.writeable = False
    said = targets.digest()
    for part in (ops.HorizontalFlip(), ops.Rotate(45), ops.RandomCrop(8, 9), ops.Resize(9, 9), ops.Tile(0, 0, 2, 2)):
        outcome = outcomes(part, targets)[part.short_name]
        assert outcome.error is None
        assert not np.may_share_memory(outcome.targets.masks["class"], targets.masks["class"])
    assert targets.digest() == said
