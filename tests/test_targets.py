import json
import pickle
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kaleidoscope as ks
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.targets import Targets, with_thresholds

SQUARE = [(1, 1), (5, 1), (5, 4), (1, 4)]
NAN = float("nan")


def everything(**more):
    """Return targets with something in every column, one object of each kind."""
    columns = {
        "boxes": [(1, 2, 5, 6), None, (2, 2, 9, 9), None],
        "classes": ["cat", "dog", 3, None],
        "ids": [1, "two", None, 4],
        "polygons": [None, SQUARE, [[(2, 2), (9, 2), (9, 9)], [(3, 4), (3, 5), (4, 5)]], None],
        "keypoints": [[(1, 2), (3, 4)], None, [(1, 2, 1), (0, 0, 0)], [(7, 7)]],
        "visible": [1, 0.5, 1, 0.25],
        "masks": {"class": np.arange(80, dtype=np.uint8).reshape(8, 10)},
        "min_area": 2,
        "min_visibility": 0.1,
    }
    return Targets(**columns | more)


class TestColumns:
    def test_are_stored_in_one_form(self):
        targets = everything()
        assert len(targets) == 4
        assert targets.classes == ("cat", "dog", 3, None)
        assert targets.ids == (1, "two", None, 4)
        assert targets.boxes.tolist()[:3] == [[1, 2, 5, 6], [1, 1, 5, 4], [2, 2, 9, 9]]
        assert np.isnan(targets.boxes[3]).all()
        assert [len(rings) for rings in targets.polygons] == [0, 1, 2, 0]
        assert [points.tolist() for points in targets.keypoints] == [
            [[1, 2, 2], [3, 4, 2]],
            [],
            [[1, 2, 1], [0, 0, 0]],
            [[7, 7, 2]],
        ]
        assert targets.visible.tolist() == [1, 0.5, 1, 0.25]
        columns = (
            targets.boxes,
            targets.visible,
            *targets.keypoints,
            *(r for rings in targets.polygons for r in rings),
        )
        assert {column.dtype for column in columns} == {np.dtype(float)}

    @pytest.mark.parametrize(
        "boxes",
        [
            [(1, 2, 5, 6)],
            [[1, 2, 5, 6]],
            np.array([[1, 2, 5, 6]], np.uint8),
            np.array([[1, 2, 5, 6]], np.float32),
            (np.array([1, 2, 5, 6]),),
            pd.DataFrame([(1, 2, 5, 6)]).to_numpy(),
        ],
        ids=type,
    )
    def test_of_boxes_may_be_any_sequence(self, boxes):
        assert Targets(boxes=boxes).boxes.tolist() == [[1.0, 2.0, 5.0, 6.0]]

    @pytest.mark.parametrize(
        "polygon", [SQUARE, [SQUARE], np.array(SQUARE), [np.array(SQUARE)], (tuple(SQUARE),), [list(map(list, SQUARE))]]
    )
    def test_of_polygons_may_be_one_ring_or_several_and_give_the_boxes(self, polygon):
        targets = Targets(polygons=[polygon])
        ((ring,),) = targets.polygons
        np.testing.assert_array_equal(ring, SQUARE)
        assert targets.boxes.tolist() == [[1, 1, 5, 4]]

    def test_that_are_not_there_are_none_for_each_object(self):
        targets = Targets(boxes=[(0, 0, 1, 1)] * 2)
        assert targets.classes == targets.ids == (None, None)
        assert targets.polygons == ((), ())
        assert [points.shape for points in targets.keypoints] == [(0, 3)] * 2
        assert targets.visible.tolist() == [1, 1]
        assert targets.masks == {}

    def test_may_all_be_missing_for_an_image_of_nothing(self):
        for empty in (Targets(), Targets(boxes=[]), Targets(boxes=np.empty((0, 4)), classes=[], polygons=[])):
            assert len(empty) == 0
            assert empty
            assert empty == Targets()
            assert empty.objects() == []
            assert empty.clipped(5, 5) == (empty, 0, 0)

    def test_hold_names_as_json(self):
        targets = Targets(
            boxes=[(0, 0, 1, 1)] * 6, classes=[np.int64(3), np.str_("a"), 2.0, np.float32(7), NAN, np.float64("nan")]
        )
        assert targets.classes == (3, "a", 2, 7, None, None)
        assert {type(name) for name in targets.classes} == {int, str, type(None)}

    def test_of_keypoints_that_are_not_known_are_not_there(self):
        (points,) = Targets(keypoints=[[(1, 2, 2), (NAN, 3, 2), (4, np.inf, 2)]]).keypoints
        assert points.tolist() == [[1, 2, 2], [0, 0, 0], [0, 0, 0]]

    def test_of_boxes_that_are_not_known_are_the_polygons(self):
        targets = Targets(boxes=[(NAN,) * 4, (0, 0, 9, 9)], polygons=[SQUARE, SQUARE])
        assert targets.boxes.tolist() == [[1, 1, 5, 4], [0, 0, 9, 9]]

    @pytest.mark.parametrize(
        "mask", [np.eye(4, dtype=bool), np.eye(4, dtype=np.uint8), np.eye(4, dtype=np.uint16)[..., None], np.eye(4) > 0]
    )
    def test_of_masks_are_integers_of_two_dimensions(self, mask):
        stored = Targets(masks=MappingProxyType({"a-1_B": mask})).masks["a-1_B"]
        assert stored.dtype in (np.uint8, np.uint16)
        np.testing.assert_array_equal(stored, np.eye(4))

    def test_are_the_callers_no_longer(self):
        given = {
            "boxes": np.array([[1.0, 2, 5, 6]]),
            "visible": np.array([0.5]),
            "polygons": [np.array(SQUARE, float)],
            "keypoints": [np.array([[1.0, 2.0, 2.0], [NAN, 3, 1]])],
        }
        before = {name: np.array(value).copy() for name, value in given.items()}
        targets = Targets(**given)
        said = targets.digest()
        targets.clipped(3, 3)
        for name, value in given.items():
            np.testing.assert_array_equal(np.array(value), before[name])
            (value if isinstance(value, np.ndarray) else value[0])[:] = 77
        assert targets.digest() == said


class TestFlat:
    """As COCO writes them."""

    def test_polygons(self):
        ring = [1, 1, 5, 1, 5, 4]
        whole = Targets(polygons=[np.reshape(ring, (-1, 2))])
        assert Targets(polygons=[ring]) == Targets(polygons=[[ring]]) == Targets(polygons=[np.array(ring)]) == whole
        parts = Targets(polygons=[[ring, [7, 7, 9, 7, 9, 9, 7, 9]]]).polygons[0]
        assert [len(part) for part in parts] == [3, 4]

    def test_keypoints(self):
        flat = [2, 3, 2, 5, 6, 1, 0, 0, 0]
        assert Targets(keypoints=[flat]).keypoints[0].tolist() == [[2, 3, 2], [5, 6, 1], [0, 0, 0]]


class TestRefusals:
    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"boxes": 5}, r"Targets\(boxes=5\): expected a sequence with one for each object"),
            (
                {"boxes": [(1, 2, 3, 4)], "classes": []},
                r"Targets\(classes=...\): expected one for each of 1 objects, got 0",
            ),
            ({"boxes": [(1, 2, 3)]}, r"Targets\(boxes=...\): expected numbers of shape \(K, 4\), got "),
            ({"boxes": (1, 2, 3, 4)}, r"expected numbers of shape \(K, 4\)"),
            ({"boxes": [("a", 2, 3, 4)]}, r"expected numbers of shape \(K, 4\)"),
            ({"boxes": [(1, 2, 9, 9), (5, 2, 3, 9)]}, r"object 1: expected a box as x1 < x2, y1 < y2 .*got \(5.0, 2.0"),
            ({"boxes": [(1, 2, 1, 9)]}, r"object 0: expected a box"),
            ({"boxes": [(1, 2, np.inf, 9)]}, r"object 0: expected a box"),
            ({"boxes": [(1, NAN, 3, 9)]}, r"object 0: expected a box"),
            ({"boxes": [None]}, r"object 0: expected a box, a polygon or keypoints"),
            ({"classes": ["cat"]}, r"object 0: expected a box, a polygon or keypoints"),
            ({"boxes": [(1, 2, 3, 4)], "classes": [1.5]}, r"an object's class or id, got 1.5 \(float\)"),
            ({"boxes": [(1, 2, 3, 4)], "ids": [True]}, r"an object's class or id, got True \(bool\)"),
            ({"boxes": [(1, 2, 3, 4)], "ids": [np.inf]}, r"an object's class or id, got inf"),
            ({"boxes": [(1, 2, 3, 4)], "ids": [[1]]}, r"an object's class or id, got \[1\] \(list\)"),
            ({"polygons": [[(1, 1), (2, 2)]]}, r"object 0: expected a polygon of at least 3 points, got "),
            ({"polygons": [[(1, 1), (2, 2), (3, NAN)]]}, r"object 0: expected a polygon of at least 3 points"),
            ({"polygons": [[(1, 1), (5, 1), (5, 1)]]}, r"object 0: expected a box as"),
            ({"polygons": [[1, 1, 5, 1, 5]]}, r"object 0, polygon: expected numbers of shape \(K, 2\)"),
            ({"polygons": [[[1, 1, 5, 1, 5]]]}, r"object 0, polygon: expected numbers of shape \(K, 2\)"),
            ({"polygons": [[[(1, 1), (2,)]]]}, r"object 0, polygon: expected numbers of shape \(K, 2\)"),
            ({"polygons": [5]}, r"object 0, polygon: expected numbers of shape \(K, 2\), got 5"),
            ({"polygons": [[]]}, r"object 0: expected a box, a polygon or keypoints"),
            ({"keypoints": [[(1, 1, 1, 1)]]}, r"object 0, keypoints: expected numbers of shape \(K, 2\) or \(K, 3\)"),
            ({"keypoints": [5]}, r"object 0, keypoints: expected numbers .*, got 5"),
            ({"keypoints": [[(1, 2, 7)]]}, r"object 0: expected a keypoint's visibility as 0, 1 or 2, got \[7.0\]"),
            (
                {"boxes": [(1, 2, 3, 4)], "visible": [1.5]},
                r"Targets\(visible=...\): expected a share, 0 to 1, for each",
            ),
            ({"boxes": [(1, 2, 3, 4)], "visible": [NAN]}, r"expected a share"),
            ({"boxes": [(1, 2, 3, 4)], "visible": ["all"]}, r"expected a share"),
            ({"boxes": [(1, 2, 3, 4)], "visible": [[1]]}, r"expected a share"),
            ({"masks": np.eye(3)}, r"Targets\(masks=...\): expected masks by their names, got ndarray"),
            ({"masks": {"a b": np.eye(3)}}, r"expected a mask's name of letters, digits, _ and - .*got 'a b'"),
            ({"masks": {"../a": np.eye(3)}}, r"expected a mask's name"),
            ({"masks": {"": np.eye(3)}}, r"expected a mask's name"),
            ({"masks": {7: np.eye(3)}}, r"expected a mask's name"),
            ({"masks": {"a": np.eye(3)}}, r"the mask 'a': expected shape \(H, W\) as uint8, .*got \(3, 3\) as float64"),
            ({"masks": {"a": np.zeros((3, 3, 3), np.uint8)}}, r"got \(3, 3, 3\) as uint8"),
            ({"masks": {"a": np.zeros((0, 3), np.uint8)}}, r"got \(0, 3\)"),
            ({"masks": dict.fromkeys("aA", np.eye(3) > 0)}, r"differ only in upper and lower case: \['A', 'a'\]"),
            ({"min_area": -1}, r"Targets\(min_area=-1\): expected square pixels, at least 0"),
            ({"min_area": NAN}, r"expected square pixels"),
            ({"min_area": "small"}, r"Targets\(min_area='small'\): expected square pixels"),
            ({"min_visibility": 1.1}, r"Targets\(min_visibility=1.1\): expected a share, 0 to 1"),
            ({"min_visibility": None}, r"Targets\(min_visibility=None\): expected a share"),
        ],
        ids=str,
    )
    def test_say_what_was_expected(self, columns, message):
        with pytest.raises(RecipeError, match=message):
            Targets(**columns)

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([{"boxes": (1, 2, 3, 4)}], r"an object has class, id, box, .*not 'boxes'\. Did you mean 'box'"),
            ([{"label": "cat", "box": (1, 2, 3, 4)}], r"not 'label'"),
            ([5], r"expected a mapping for each object, .*got 5"),
            (["cat"], r"expected a mapping for each object, .*got 'cat'"),
            ([None], r"expected a mapping for each object"),
            ([{"class": "cat"}], r"object 0: expected a box, a polygon or keypoints"),
            ([{"box": (0, 0, 1, 1), "visible": 2}], r"expected a share"),
        ],
        ids=str,
    )
    def test_of_rows_say_it_too(self, rows, message):
        with pytest.raises(RecipeError, match=message):
            Targets.of_objects(rows)

    def test_of_masks_of_another_size_than_the_image(self):
        with pytest.raises(
            OpError, match=r"the mask 'm' is 5x4 pixels large, its image 4x5 \(EXIF orientation applied\)"
        ):
            Targets(masks={"m": np.zeros((4, 5), np.uint8)}).fitted(4, 5)


class TestTravel:
    def test_as_rows(self):
        targets = everything()
        rows = json.loads(json.dumps(targets.objects()))
        assert list(rows[0]) == ["class", "id", "box", "keypoints", "visible"]
        assert "class" not in rows[3]
        copy = Targets.of_objects(rows, masks=targets.masks, min_area=2, min_visibility=0.1)
        assert copy == targets
        assert copy.objects() == targets.objects()

    def test_by_pickle(self):
        targets = everything()
        copy = pickle.loads(pickle.dumps(targets))
        assert copy == targets
        assert hash(copy) == hash(targets)
        np.testing.assert_array_equal(copy.boxes, targets.boxes)

    def test_with_masks_of_their_own_where_they_are_copied(self):
        targets = everything()
        copy = targets.copied()
        assert copy == targets
        copy.masks["class"][:] = 0
        assert copy != targets

    @pytest.mark.parametrize(
        "other",
        [
            {"boxes": [(1, 2, 5, 6.001), None, (2, 2, 9, 9), None]},
            {"classes": ["cat", "dog", "3", None]},
            {"ids": [1, "two", 0, 4]},
            {"polygons": [None, SQUARE, [[(2, 2), (9, 2), (9, 9)], [(3, 4), (3, 5), (4, 5.5)]], None]},
            {"keypoints": [[(1, 2), (3, 4)], None, [(1, 2, 2), (0, 0, 0)], [(7, 7)]]},
            {"visible": [1, 0.5, 1, 0.26]},
            {"masks": {}},
            {"masks": {"class2": np.arange(80, dtype=np.uint8).reshape(8, 10)}},
            {"masks": {"class": np.arange(80, dtype=np.uint8).reshape(10, 8)}},
            {"masks": {"class": np.arange(80, dtype=np.uint16).reshape(8, 10)}},
            {"masks": {"class": np.arange(80, dtype=np.uint8).reshape(8, 10)[::-1]}},
            {"min_area": 1},
            {"min_visibility": 0.2},
        ],
        ids=lambda other: next(iter(other)),
    )
    def test_under_a_digest_that_every_column_changes(self, other):
        assert everything().digest() == everything().digest()
        assert everything(**other).digest() != everything().digest()
        assert everything(**other) != everything()
        assert everything() != "targets"

    def test_with_the_larger_thresholds(self):
        targets = with_thresholds(everything(), 1, 0.5)
        assert (targets.min_area, targets.min_visibility) == (2, 0.5)
        assert targets.objects() == everything().objects()

    def test_and_show_what_they_hold(self):
        assert repr(everything()) == "Targets(4 objects: 3, cat, dog; mask class)"
        assert repr(ks.Targets()) == "Targets(0 objects)"


class TestClipping:
    def test_keeps_what_lies_inside_as_it_is(self):
        targets = everything()
        clipped, cut, dropped = targets.clipped(10, 10)
        assert (clipped, cut, dropped) == (targets, 0, 0)

    def test_cuts_boxes_and_says_how_much_is_left(self):
        targets = Targets(boxes=[(0, 0, 10, 10), (5, 5, 15, 10), (8, 8, 18, 18), (10, 0, 12, 5)])
        clipped, cut, dropped = targets.clipped(10, 10)
        assert clipped.boxes.tolist() == [[0, 0, 10, 10], [5, 5, 10, 10], [8, 8, 10, 10]]
        assert clipped.visible.tolist() == [1, 0.5, 0.04]
        assert (cut, dropped) == (2, 1)

    def test_multiplies_what_is_left_over_several_steps(self):
        targets = Targets(boxes=[(0, 0, 10, 10)], visible=[0.5])
        for size, left in ((8, 0.4), (4, 0.2), (4, 0.2)):
            targets, _, _ = targets.clipped(size, 10)
            assert targets.visible.tolist() == pytest.approx([left])

    @pytest.mark.parametrize(
        ("thresholds", "kept"),
        [
            ({}, [50, 25, 1]),
            ({"min_area": 5}, [50, 25]),
            ({"min_area": 25}, [50, 25]),
            ({"min_area": 25.1}, [50]),
            ({"min_visibility": 0.3}, [50]),
            ({"min_visibility": 0.5}, [50]),
            ({"min_visibility": 0.02, "min_area": 30}, [50]),
            ({"min_visibility": 1.0}, []),
        ],
        ids=str,
    )
    def test_drops_whole_rows_below_the_thresholds(self, thresholds, kept):
        columns = {
            "boxes": [(5, 0, 15, 10), (5, 5, 15, 15), (9, 9, 19, 19)],
            "classes": [50, 25, 1],
            "ids": ["a", "b", "c"],
            "polygons": [None, [(5, 5), (15, 5), (15, 15), (5, 15)], None],
            "keypoints": [[(6, 6)], [(7, 7)], [(9, 9)]],
        }
        clipped, cut, dropped = Targets(**columns, **thresholds).clipped(10, 10)
        assert list(clipped.classes) == kept
        assert clipped.ids == ("a", "b", "c")[: len(kept)]
        assert (
            len(clipped.boxes) == len(clipped.polygons) == len(clipped.keypoints) == len(clipped.visible) == len(kept)
        )
        assert (cut, dropped) == (len(kept), 3 - len(kept))

    def test_thresholds_look_at_all_that_was_lost(self):
        targets = Targets(boxes=[(0, 0, 10, 10)], min_visibility=0.5)
        targets, _, _ = targets.clipped(7, 10)
        assert len(targets.clipped(5, 10)[0]) == 1
        assert len(targets.clipped(4, 10)[0]) == 0

    def test_leaves_keypoints_in_the_row_that_leave_the_frame(self):
        points = [(2, 3, 1), (15, 3, 2), (9.5, 9.5, 2), (9.51, 3, 2), (-0.6, 2, 2)]
        targets = Targets(boxes=[(0, 0, 20, 10)], keypoints=[points])
        (points,) = targets.clipped(10, 10)[0].keypoints
        assert points[:, 2].tolist() == [1, 0, 2, 0, 0]
        assert points[:, :2].tolist() == [[2, 3], [0, 0], [9.5, 9.5], [0, 0], [0, 0]], "as COCO has it"
        assert targets.keypoints[0][:, 2].tolist() == [1, 2, 2, 2, 2]

    def test_of_keypoints_alone_counts_those_that_are_there(self):
        points = [(2, 3), (15, 3), (3, 3), (0, 0, 0)]
        targets = Targets(keypoints=[[(*p, 2)[:3] for p in points], [(20, 20)], [(1, 1)]], classes=["a", "b", "c"])
        clipped, cut, dropped = targets.clipped(10, 10)
        assert clipped.classes == ("a", "c")
        assert clipped.visible.tolist() == pytest.approx([2 / 3, 1])
        assert (cut, dropped) == (1, 1)
        assert np.isnan(clipped.boxes).all()
        assert len(Targets(keypoints=[[(1, 1)]], min_area=100).clipped(10, 10)[0]) == 1  # they have no area

    def test_of_a_polygon_makes_its_box_what_is_left_of_it(self):
        # The whole box reaches the frame's lower half; what is left of the triangle does not.
        targets = Targets(boxes=[(1, -1, 13, 9)], polygons=[[(2, 0), (12, 0), (12, 8)]])
        clipped, _, _ = targets.clipped(4, 9)
        assert clipped.boxes.tolist() == [pytest.approx([2, 0, 4, 1.6])]
        assert clipped.visible.tolist() == pytest.approx([2 * 1.6 / 80])

    def test_of_an_object_in_parts_loses_those_that_are_outside(self):
        inside, across, beyond = np.add(SQUARE, (0, 0)), np.add(SQUARE, (6, 0)), np.add(SQUARE, (9, 5))
        targets = Targets(polygons=[[inside, across, beyond]])
        clipped, cut, _ = targets.clipped(10, 10)
        ((first, second),) = clipped.polygons
        np.testing.assert_array_equal(first, inside)
        assert first is targets.polygons[0][0]
        assert sorted(second[:, 0].tolist()) == [7, 7, 10, 10]
        assert clipped.boxes.tolist() == [[1, 1, 10, 4]]  # the part that only touches the border stands for nothing
        assert clipped.visible.tolist() == pytest.approx([(12 + 9) / 36])
        assert cut == 1

    def test_of_a_polygon_around_a_corner_makes_a_box_of_what_is_seen(self):
        ring = [(2, 2), (14, 2), (14, 14), (8, 14), (8, 13), (13, 13), (13, 3), (2, 3)]
        assert Targets(polygons=[ring]).clipped(10, 10)[0].boxes.tolist() == [[2, 2, 10, 3]]

    def test_of_a_polygon_outside_drops_its_object_whatever_its_box_says(self):
        targets = Targets(boxes=[(0, 0, 30, 30)], polygons=[[(20, 20), (30, 20), (30, 30)]])
        assert targets.clipped(10, 10)[2] == 1

    def test_of_rings_that_cross_themselves_does_not_drop_them(self):
        # Both halves of a bow have the same area, of opposite signs.
        bow = Targets(polygons=[[(0, 0), (4, 4), (4, 0), (0, 4)]])
        assert bow.clipped(10, 10) == (bow, 0, 0)
        assert bow.fitted(10, 10) == (bow, 0)
        assert bow.clipped(2, 4)[0].visible.tolist() == [0.5]

    def test_drops_what_is_no_more_than_rounding(self):
        # A box turned by 90 degrees ends at the border but for 1e-15 pixels.
        box = (10 - 1e-14, 2, 14, 5)
        for targets in (Targets(boxes=[box]), Targets(polygons=[[box[:2], (14, 2), (14, 5), (box[0], 5)]])):
            assert targets.clipped(10, 10)[1:] == (0, 1)

    @given(
        st.lists(st.tuples(st.floats(-9, 19), st.floats(-9, 19), st.floats(1e-7, 20), st.floats(1e-7, 20)), max_size=4),
        st.booleans(),
    )
    def test_leaves_nothing_that_could_not_be_read_again(self, places, as_polygons):
        boxes = [(x, y, x + w, y + h) for x, y, w, h in places]
        given = {"polygons": [[b[:2], (b[2], b[1]), b[2:]] for b in boxes]} if as_polygons else {"boxes": boxes}
        clipped, cut, dropped = Targets(**given).clipped(10, 10)
        assert len(clipped) + dropped == len(boxes)
        assert cut <= len(clipped)
        assert Targets.of_objects(clipped.objects()).objects() == clipped.objects()
        again, cut, dropped = clipped.clipped(10, 10)
        assert (cut, dropped) == (0, 0)
        assert again == clipped

    def test_of_labels_outside_of_the_image_is_no_loss(self):
        given = Targets(boxes=[(-5, 0, 5, 10), (11, 0, 12, 5), (1, 1, 2, 2)], min_visibility=0.9, min_area=2)
        targets, outside = given.fitted(10, 10)
        assert outside == 1  # the third is too small, as somebody wanted it
        assert targets.boxes.tolist() == [[0, 0, 5, 10]]
        assert targets.visible.tolist() == [1]

    def test_changes_nothing_that_was_there(self):
        targets = everything()
        for array in (targets.boxes, targets.visible, *targets.keypoints, *targets.polygons[2], targets.masks["class"]):
            array.flags.writeable = False
        said = targets.digest()
        targets.clipped(4, 4)
        targets.fitted(10, 8)
        targets.kept(np.array([True, False, True, False]))
        assert targets.digest() == said
