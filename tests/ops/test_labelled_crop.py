import numpy as np
import pytest

from kaleidoscope import ops
from kaleidoscope.errors import OpError, RecipeError
from kaleidoscope.record import Frame
from kaleidoscope.targets import Targets

FRAME = Frame(100, 200, 3, "uint8")
WHOLE = {"left": 0, "top": 0, "width": 200, "height": 100}


def draw(op, targets=None, n=500, frame=FRAME):
    rng = np.random.default_rng(0)
    drawn = [op.sample_params_for(rng, frame, targets) for _ in range(n)]
    assert {type(value) for d in drawn for value in d.values()} == {int}
    for d in drawn:
        op.out_frame(frame, d)
    return {name: np.array([d[name] for d in drawn]) for name in drawn[0]}


def sides(drawn):
    return drawn["left"], drawn["top"], drawn["left"] + drawn["width"], drawn["top"] + drawn["height"]


class TestBBoxSafeRandomCrop:
    BOXES = Targets(boxes=[(60.4, 20, 90, 40), (80, 30.5, 140.6, 70)])

    def test_every_window_holds_every_box(self):
        left, top, right, bottom = sides(draw(ops.BBoxSafeRandomCrop(), self.BOXES))
        assert left.max() <= 60
        assert top.max() <= 20
        assert right.min() >= 141
        assert bottom.min() >= 70

    def test_windows_fill_what_lies_between_boxes_and_image(self):
        left, top, right, bottom = sides(draw(ops.BBoxSafeRandomCrop(), self.BOXES, n=2000))
        for values, low, high in ((left, 0, 60), (top, 0, 20), (right, 141, 200), (bottom, 70, 100)):
            assert (values.min(), values.max()) == (low, high) or values.max() - values.min() >= high - low - 1
            np.testing.assert_allclose(np.median(values), (low + high) / 2, atol=2.5)

    def test_erosion_lets_windows_cut_as_much_and_no_more(self):
        left, top, right, bottom = sides(draw(ops.BBoxSafeRandomCrop(0.5), self.BOXES, n=2000))
        assert 75 <= left.max() <= 60.4 + 80.2 / 4
        assert 29 <= top.max() <= 20 + 50 / 4
        assert 140.6 - 80.2 / 4 <= right.min() <= 125
        assert 70 - 50 / 4 <= bottom.min() <= 61

    def test_a_single_box_is_kept_whole(self):
        left, top, right, bottom = sides(draw(ops.BBoxSafeRandomCrop(0.9), Targets(boxes=[(60, 20, 90, 40)])))
        assert max(left.max() - 60, top.max() - 20, 90 - right.min(), 40 - bottom.min()) <= 0

    def test_boxes_as_large_as_the_image_leave_all_of_it(self):
        drawn = draw(ops.BBoxSafeRandomCrop(), Targets(boxes=[(0, 0, 10, 100), (5, 0, 200, 10)]), n=20)
        assert {name: set(values) for name, values in drawn.items()} == {n: {v} for n, v in WHOLE.items()}

    @pytest.mark.parametrize(
        ("rate", "targets"),
        [
            (0.4, None),
            (0.4, Targets()),
            (0.4, Targets(keypoints=[[(3, 4)]])),
            (0.4, Targets(masks={"class": np.ones((100, 200), np.uint8)})),
            (1.0, BOXES),
        ],
        ids=str,
    )
    def test_without_boxes_windows_keep_the_proportions(self, rate, targets):
        drawn = draw(ops.BBoxSafeRandomCrop(rate), targets, n=2000)
        assert drawn["height"].min() == max(1, 100 * (1 - rate))
        assert drawn["height"].max() == 100
        np.testing.assert_array_equal(drawn["width"], 2 * drawn["height"])
        assert drawn["left"].min() == 0
        assert (drawn["left"] + drawn["width"]).max() == 200
        alone = [ops.BBoxSafeRandomCrop(rate).sample_params(np.random.default_rng(0), FRAME)["height"]]
        assert alone == drawn["height"][:1]

    def test_points_beside_boxes_are_not_looked_at(self):
        both = Targets(boxes=[None, (60, 20, 90, 40)], keypoints=[[(199, 99)], None])
        assert draw(ops.BBoxSafeRandomCrop(), both)["width"].min() < 100

    @pytest.mark.parametrize("rate", [-0.1, 1.1, "half", None, (0.1, 0.2)])
    def test_no_share_is_refused(self, rate):
        with pytest.raises(RecipeError, match=r"erosion_rate=.*expected a share, 0 to 1"):
            ops.BBoxSafeRandomCrop(rate)


class TestCropNonEmptyMaskIfExists:
    def masks(self, **places):
        made = {}
        for name, cells in places.items():
            made[name] = np.zeros((100, 200), np.uint8)
            for (x, y), value in cells.items():
                made[name][y, x] = value
        return Targets(masks=made)

    def test_every_window_holds_a_masked_pixel_and_any_such_window_is_drawn(self):
        left, top, right, bottom = sides(draw(ops.CropNonEmptyMaskIfExists(4, 6), self.masks(a={(50, 60): 1}), n=2000))
        values, counts = np.unique(np.stack([left, top], axis=1), axis=0, return_counts=True)
        assert values.tolist() == [[x, y] for x in range(45, 51) for y in range(57, 61)]
        assert counts.min() > 45  # of 83 expected
        assert (right - left == 6).all()
        assert (bottom - top == 4).all()

    @pytest.mark.parametrize("place", [(0, 0), (199, 99), (199, 0), (2, 97)])
    def test_at_the_border_windows_are_moved_into_the_image(self, place):
        left, top, right, bottom = sides(draw(ops.CropNonEmptyMaskIfExists(30, 40), self.masks(a={place: 1}), n=50))
        x, y = place
        assert (left <= x).all()
        assert (x < right).all()
        assert (top <= y).all()
        assert (y < bottom).all()

    def test_pixels_of_all_masks_are_equally_likely(self):
        targets = self.masks(a={(5, 5): 1, (50, 5): 9}, b={(100, 5): 255, (50, 5): 3, (150, 7): 200})
        lefts, counts = np.unique(draw(ops.CropNonEmptyMaskIfExists(1, 1), targets, n=1000)["left"], return_counts=True)
        assert lefts.tolist() == [5, 50, 100, 150]
        assert counts.min() > 190  # of 250 expected

    @pytest.mark.parametrize(
        ("settings", "places"),
        [
            ({}, {5, 50, 100}),
            ({"ignore_values": [9]}, {5, 100}),
            ({"ignore_values": [9, 255]}, {5}),
            ({"ignore_masks": ["b", "nowhere"]}, {5, 50}),
            ({"ignore_masks": ["a"], "ignore_values": [3]}, {100}),
        ],
        ids=str,
    )
    def test_what_is_ignored_does_not_count(self, settings, places):
        targets = self.masks(a={(5, 5): 1, (50, 5): 9}, b={(100, 5): 255})
        assert set(draw(ops.CropNonEmptyMaskIfExists(1, 1, **settings), targets, n=100)["left"]) == places

    @pytest.mark.parametrize(
        "targets",
        [None, Targets(boxes=[(3, 4, 9, 9)]), Targets(masks={"a": np.zeros((100, 200), np.uint8)})],
        ids=str,
    )
    def test_without_masked_pixels_any_window_is_drawn(self, targets):
        drawn = draw(ops.CropNonEmptyMaskIfExists(98, 199), targets)
        places, counts = np.unique(np.stack([drawn["left"], drawn["top"]]), axis=1, return_counts=True)
        assert places.T.tolist() == [[x, y] for x in range(2) for y in range(3)]
        assert counts.min() > 50  # of 83 expected

    def test_masks_are_only_read(self):
        targets = self.masks(a={(5, 5): 1}, b={(6, 6): 3})
        said = targets.digest()
        draw(ops.CropNonEmptyMaskIfExists(9, 9, ignore_values=(3,)), targets, n=3)
        assert targets.digest() == said

    @pytest.mark.parametrize("size", [(101, 5), (5, 201)])
    def test_of_a_smaller_image_is_refused_with_what_to_do(self, size):
        with pytest.raises(OpError, match=r"expected an image of at least .* pixels, got 200x100x3 uint8; PadIfNeeded"):
            draw(ops.CropNonEmptyMaskIfExists(*size))
        with pytest.raises(OpError, match="PadIfNeeded"):
            ops.CropNonEmptyMaskIfExists(*size).sample_params(np.random.default_rng(), FRAME)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"height": 0}, r"height=0\): expected whole pixels, at least 1"),
            ({"ignore_values": 3}, r"ignore_values=3\): expected a list of whole numbers"),
            ({"ignore_values": [0.5]}, r"expected a list of whole numbers"),
            ({"ignore_values": [True]}, r"expected a list of whole numbers"),
            ({"ignore_masks": "class"}, r"ignore_masks='class'\): expected a list of names of masks"),
            ({"ignore_masks": [1]}, r"expected a list of names"),
        ],
        ids=str,
    )
    def test_that_makes_no_sense_is_refused(self, settings, message):
        with pytest.raises(RecipeError, match=message):
            ops.CropNonEmptyMaskIfExists(**{"height": 3, "width": 3} | settings)


@pytest.mark.parametrize("op", [ops.BBoxSafeRandomCrop(0.2), ops.CropNonEmptyMaskIfExists(50, 60)], ids=repr)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_are_those_of_the_window(make_pixels, run, op, dtype):
    src = make_pixels((61, 80, 7), dtype)
    params = op.sample_params(np.random.default_rng(3), Frame.of(src))
    x, y = params["left"], params["top"]
    np.testing.assert_array_equal(run(op, src, params), src[y : y + params["height"], x : x + params["width"]])
    assert not op.fuses
    with pytest.raises(OpError, match="drawn for an image of another size"):
        op.out_frame(Frame.of(src), params | {"left": 79})


def test_they_travel(check_travels):
    check_travels(ops.BBoxSafeRandomCrop(0.25))
    check_travels(ops.CropNonEmptyMaskIfExists(3, 4, ignore_values=[1, 2], ignore_masks=["a"]))
