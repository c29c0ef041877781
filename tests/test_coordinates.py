"""Coordinates against float64 references and against pixels: a polygon's area is what a fine raster of it counts."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kaleidoscope.coordinates import (
    bounds,
    box_areas,
    clip_boxes,
    clip_polygon,
    cut_behind,
    keeps_upright,
    move_points,
    outlines,
    polygon_area,
)

#: Subpixels a side in `raster`.
FINE = 16
WIDTH, HEIGHT = 12, 9
COORDINATE = st.floats(-15, 25).map(lambda x: round(x, 3))
SHIFT = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, -2.0], [0.0, 0.0, 1.0]])
#: A fork of two prongs that meet beyond the frame's right side.
FORK = [(2, 2), (20, 2), (20, 7), (2, 7), (2, 6), (15, 6), (15, 3), (2, 3)]
#: It goes around the frame's lower right corner.
AROUND_THE_CORNER = [(2, 2), (14, 2), (14, 14), (8, 14), (8, 13), (13, 13), (13, 3), (2, 3)]


@st.composite
def stars(draw):
    """Draw a polygon that does not cross itself, convex or not, either way round, anywhere around the frame."""
    count = draw(st.integers(3, 9))
    angles = sorted(draw(st.lists(st.integers(0, 359), min_size=count, max_size=count, unique=True)))
    middle = np.array([draw(COORDINATE), draw(COORDINATE)])
    radii = np.array(draw(st.lists(st.floats(0.5, 14), min_size=count, max_size=count)))[:, None]
    turn = np.radians(angles)
    # No gap of half a turn: the middle would lie outside, and sides could cross.
    gaps = np.diff([*angles, angles[0] + 360])
    assume(gaps.max() < 180)
    ring = middle + radii * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return ring if draw(st.booleans()) else ring[::-1]


def raster(ring, width=WIDTH, height=HEIGHT, fine=FINE):
    """Return which points of a fine grid over the frame lie inside a polygon (even-odd), the long way."""
    ys, xs = (np.mgrid[: height * fine, : width * fine] + 0.5) / fine
    inside = np.zeros(xs.shape, bool)
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (y1 > ys) != (y2 > ys)
            inside ^= crosses & (xs < (x2 - x1) * (ys - y1) / (y2 - y1) + x1)
    return inside


def length_of(ring):
    return np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1).sum()


def area_of(parts):
    return sum(map(polygon_area, parts))


def area_between(parts, low, high):
    """Return how much of polygons lies in a box."""
    return sum(area_of(clip_polygon(part - low, *np.subtract(high, low))) for part in parts)


def turns(ring):
    """Return the signed area: above 0 or below, by which way round a polygon goes."""
    x, y = (ring - ring[0]).T
    return np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2


class TestPolygons:
    @given(stars())
    @example(np.array(FORK, float))
    @example(np.array(AROUND_THE_CORNER, float))
    def test_clipped_have_the_area_of_what_is_seen(self, ring):
        seen = raster(ring)
        parts = clip_polygon(ring, WIDTH, HEIGHT)
        # A raster errs along the outline: half a subpixel's diagonal on either side at the very most.
        slack = (length_of(ring) + 4) / FINE
        assert abs(area_of(parts) - seen.sum() / FINE**2) <= slack
        again = np.logical_or.reduce([raster(part) for part in parts]) if parts else np.zeros_like(seen)
        assert (again != seen).sum() / FINE**2 <= slack

    @given(stars())
    def test_clipped_lie_in_the_frame_and_clip_to_themselves(self, ring):
        for part in clip_polygon(ring, WIDTH, HEIGHT):
            x1, y1, x2, y2 = bounds(part)
            assert x1 >= 0
            assert y1 >= 0
            assert x2 <= WIDTH
            assert y2 <= HEIGHT
            assert clip_polygon(part, WIDTH, HEIGHT)[0] is part

    @given(stars(), st.integers(0, 8))
    def test_have_one_area_whichever_way_round_and_wherever_they_start(self, ring, start):
        area, left = polygon_area(ring), area_of(clip_polygon(ring, WIDTH, HEIGHT))
        for other in (ring[::-1], np.roll(ring, start, axis=0)):
            assert polygon_area(other) == pytest.approx(area)
            assert area_of(clip_polygon(other, WIDTH, HEIGHT)) == pytest.approx(left)
        assert polygon_area(ring + 1e6) == pytest.approx(area, rel=1e-6)
        assert polygon_area(2 * ring) == pytest.approx(4 * area)

    @given(stars())
    def test_keep_their_way_round(self, ring):
        for part in clip_polygon(ring, WIDTH, HEIGHT):
            assert np.sign(turns(part)) == np.sign(turns(ring)) or polygon_area(part) < 1e-9

    @given(stars())
    @example(np.array(FORK, float))
    @example(np.array(AROUND_THE_CORNER, float))
    @example(np.array(AROUND_THE_CORNER, float)[::-1])
    def test_clipped_have_the_bounds_of_what_is_seen(self, ring):
        parts = clip_polygon(ring, WIDTH, HEIGHT)
        area = area_of(parts)
        assume(area > 0.01)
        x1, y1, x2, y2 = bounds(np.concatenate(parts))
        assert area_between(parts, (x1, y1), (x2, y2)) == pytest.approx(area)
        thin = 0.01  # pixels: along each side of the box there is something
        assert area_between(parts, (x1, y1), (x1 + thin, y2)) > 0
        assert area_between(parts, (x1, y1), (x2, y1 + thin)) > 0
        assert area_between(parts, (x2 - thin, y1), (x2, y2)) > 0
        assert area_between(parts, (x1, y2 - thin), (x2, y2)) > 0

    def test_that_fall_apart_are_several(self):
        parts = clip_polygon(np.array(FORK, float), WIDTH, HEIGHT)
        assert sorted(bounds(part).tolist() for part in parts) == [[2, 2, 12, 3], [2, 6, 12, 7]]
        assert [polygon_area(part) for part in parts] == [10, 10]

    def test_of_many_prongs_are_as_many(self):
        x = np.arange(40) / 4
        comb = np.concatenate([np.stack([x, np.where(np.arange(40) % 4 < 2, 4, 20)], axis=1), [(10, 30), (0, 30)]])
        assert len(clip_polygon(comb, WIDTH, HEIGHT)) == 10
        assert len(clip_polygon(comb[::-1], WIDTH, HEIGHT)) == 10
        assert area_of(clip_polygon(comb, WIDTH, HEIGHT)) == pytest.approx(raster(comb, fine=32).sum() / 32**2, abs=0.3)

    @given(st.lists(st.tuples(st.integers(-2, 4), st.integers(-2, 4)), min_size=3, max_size=8))
    def test_of_any_points_are_clipped_to_the_frame(self, points):
        # Crossing themselves, along the border, back and forth: nothing may break, or come from outside.
        ring = np.array(points, float)
        for part in clip_polygon(ring, 2, 2):
            assert len(part) >= 3
            assert np.isfinite(part).all()
            assert part.min() >= 0
            assert part.max() <= 2

    @pytest.mark.parametrize("turn", range(4))
    def test_with_a_side_on_the_border_end_where_they_do(self, turn):
        # An L whose inner side is the frame's: nothing of the lower half lies in the frame.
        ring = np.roll([(2.0, 2), (20, 2), (20, 8), (12, 8), (12, 4), (2, 4)], turn, axis=0)
        (part,) = clip_polygon(ring, WIDTH, HEIGHT)
        assert bounds(part).tolist() == [2, 2, 12, 4]
        (other,) = clip_polygon(ring - (12, 0), WIDTH, HEIGHT)
        assert bounds(other).tolist() == [0, 2, 8, 8]

    def test_around_a_corner_do_not_reach_it(self):
        (part,) = clip_polygon(np.array(AROUND_THE_CORNER, float), WIDTH, HEIGHT)
        assert bounds(part).tolist() == [2, 2, 12, 3]

    @pytest.mark.parametrize("corner", [(0, 0), (WIDTH, 0), (0, HEIGHT), (WIDTH, HEIGHT)])
    def test_over_a_corner_reach_it(self, corner):
        ring = np.array(corner) + np.array([(-3.0, -3.0), (3, -3), (3, 3), (-3, 3)])
        (part,) = clip_polygon(ring, WIDTH, HEIGHT)
        assert bounds(part).tolist() == clip_boxes(bounds(ring)[None], WIDTH, HEIGHT)[0].tolist()

    def test_over_everything_are_the_frame(self):
        (part,) = clip_polygon(np.array([(-5.0, -5.0), (30, -5), (30, 30), (-5, 30)]), WIDTH, HEIGHT)
        assert polygon_area(part) == WIDTH * HEIGHT
        assert bounds(part).tolist() == [0, 0, WIDTH, HEIGHT]

    @pytest.mark.parametrize("away", [(-30, 0), (30, 0), (0, -30), (0, 30), (-30, 30)])
    def test_elsewhere_leave_nothing(self, away):
        assert clip_polygon(np.array([(1.0, 1.0), (5, 1), (3, 4)]) + away, WIDTH, HEIGHT) == []

    @pytest.mark.parametrize("ring", [[], [(1, 1)], [(1, 1), (2, 2)], [(1, 1), (2, 2), (3, 3)], [(4, 4)] * 5])
    def test_of_no_area_have_none_and_are_clipped_without_a_word(self, ring):
        ring = np.array(ring, float).reshape(-1, 2)
        assert polygon_area(ring) == 0
        assert area_of(clip_polygon(ring, 2, 2)) == 0

    def test_that_touch_the_frame_from_outside_leave_nothing(self):
        assert clip_polygon(np.array([(12.0, 1), (15, 1), (15, 5), (12, 5)]), WIDTH, HEIGHT) == []
        assert clip_polygon(np.array([(12.0, 1), (15, 0), (15, 5)]), WIDTH, HEIGHT) == []

    def test_are_not_touched(self):
        ring = np.array(FORK, float)
        ring.flags.writeable = False
        clip_polygon(ring, WIDTH, HEIGHT)
        assert clip_polygon(ring, 100, 100)[0] is ring


class TestBoxes:
    @given(st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), max_size=5))
    def test_clipped_are_the_polygons_clipped(self, corners):
        boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]).reshape(-1, 4)
        clipped = clip_boxes(boxes, WIDTH, HEIGHT)
        for box, part in zip(boxes, clipped, strict=True):
            ring = box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)
            area = area_of(clip_polygon(ring, WIDTH, HEIGHT))
            assert box_areas(part[None])[0] == pytest.approx(area, abs=1e-9)

    def test_that_are_not_known_stay_so(self):
        boxes = np.array([[np.nan] * 4, [1, 1, 2, 3]])
        assert np.isnan(clip_boxes(boxes, WIDTH, HEIGHT)[0]).all()
        assert box_areas(boxes).tolist()[1] == 2
        assert np.isnan(box_areas(boxes)[0])
        assert np.isnan(bounds(outlines(boxes))[0]).all()

    def test_have_their_corners_as_outline(self):
        assert outlines(np.array([[1.0, 2, 5, 4]])).tolist() == [[[1, 2], [5, 2], [5, 4], [1, 4]]]
        assert bounds(outlines(np.array([[1.0, 2, 5, 4]]), per_side=7)).tolist() == [[1, 2, 5, 4]]
        assert outlines(np.array([[1.0, 2, 5, 4]]), per_side=7).shape == (1, 28, 2)

    def test_have_an_ellipse_inside(self):
        points = outlines(np.array([[1.0, 2, 5, 4]]), method="ellipse")[0]
        np.testing.assert_allclose(((points - (3, 3)) ** 2 / (4, 1)).sum(axis=1), 1)
        np.testing.assert_allclose(bounds(points), [1, 2, 5, 4])


class TestMaps:
    @given(st.lists(st.tuples(COORDINATE, COORDINATE), max_size=6), st.integers(0, 2**32))
    def test_move_points_as_opencv_does(self, points, seed):
        matrix = np.random.default_rng(seed).uniform(-2, 2, (3, 3))
        matrix[2] = 0, 0, 1
        points = np.array(points, float).reshape(-1, 2)
        moved = move_points(points, matrix)
        assert moved.shape == points.shape
        if len(points):
            np.testing.assert_allclose(moved, cv2.transform(points[None], matrix[:2])[0], atol=1e-9)

    def test_move_points_in_perspective(self):
        matrix = np.array([[1.0, 0.1, 3], [0.2, 0.9, -1], [0.001, 0.002, 1]])
        points = np.array(list(itertools.product((0.0, 5, 11), (0.0, 8))))
        np.testing.assert_allclose(move_points(points, matrix), cv2.perspectiveTransform(points[None], matrix)[0])
        assert not keeps_upright(matrix)

    def test_behind_the_camera_is_outside_of_every_frame(self):
        matrix = np.array([[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]])  # the horizon is at x = 10
        moved = move_points(np.array([[10.0, 0], [11, 0], [25, 7], [5, 5]]), matrix)
        assert np.isfinite(moved).all()
        assert (moved[:3] < -1e6).all()
        np.testing.assert_allclose(moved[3], [10, 10])

    def test_cut_what_is_behind_the_camera(self):
        matrix = np.array([[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]])
        square = np.array([[8.0, 0], [12, 0], [12, 4], [8, 4]])
        front = cut_behind(square, matrix)
        assert polygon_area(front) == pytest.approx(2 * 4, rel=0.01)  # up to the horizon
        assert (front @ matrix[2, :2] + 1 > 0).all()
        assert len(cut_behind(square + 5, matrix)) == 0
        near = square - 5
        assert cut_behind(near, matrix) is near

    def test_move_nothing_to_nothing(self):
        assert move_points(np.empty((0, 2)), SHIFT).shape == (0, 2)

    @pytest.mark.parametrize("angle", range(-720, 721, 90))
    def test_by_quarter_turns_keep_boxes_upright_although_the_sine_of_pi_is_not_0(self, angle):
        turn = np.radians(angle)
        matrix = np.array([[np.cos(turn), np.sin(turn), 4.0], [-np.sin(turn), np.cos(turn), 900.0], [0, 0, 1]])
        assert keeps_upright(matrix)
        assert keeps_upright(matrix @ np.diag([0.01, 300.0, 1.0]))

    @pytest.mark.parametrize("angle", [0.001, 45, 89.999])
    def test_by_other_angles_do_not(self, angle):
        turn = np.radians(angle)
        assert not keeps_upright(
            np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        )
