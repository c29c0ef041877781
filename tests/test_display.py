import io
import pickle

import numpy as np
import pytest
from PIL import Image

from kaleidoscope.display import ContactSheet, Progress, contact_sheet, html_table
from kaleidoscope.display.overlay import with_targets
from kaleidoscope.display.thumbnail import placeholder, thumbnail_of
from kaleidoscope.errors import RecipeError
from kaleidoscope.targets import Targets

RED = (200, 30, 40)


def solid(colour: tuple[int, ...], height: int = 60, width: int = 80, dtype: str = "uint8") -> np.ndarray:
    return np.full((height, width, len(colour)), colour, dtype)


def drawn(sheet: ContactSheet) -> np.ndarray:
    """Return the sheet's own pixels, shape (H, W, 3)."""
    image = Image.open(io.BytesIO(sheet.png))
    assert image.size == (sheet.width, sheet.height)
    return np.asarray(image.convert("RGB"))


def fields(page: np.ndarray, colour: tuple[int, int, int], tolerance: int = 3) -> list[tuple[int, int]]:
    """Return the (height, width) of each rectangle of `colour`, in reading order."""
    mask = np.abs(page.astype(int) - colour).max(axis=2) <= tolerance
    found = []
    while mask.any():
        y, x = np.argwhere(mask)[0]
        height = int(np.argmin(np.append(mask[y:, x], False)))
        width = int(np.argmin(np.append(mask[y, x:], False)))
        assert mask[y : y + height, x : x + width].all()
        mask[y : y + height, x : x + width] = False
        found.append((height, width))
    return found


class TestThumbnail:
    @pytest.mark.parametrize(
        ("shape", "expected"),
        [
            ((300, 400), (160, 120)),
            ((400, 300), (120, 160)),
            ((50, 50), (160, 160)),
            ((1, 5000), (160, 1)),
            ((30, 40), (160, 120)),
        ],
        ids=str,
    )
    def test_keeps_the_aspect_ratio(self, shape, expected):
        assert thumbnail_of(np.zeros((*shape, 3), np.uint8), 160).size == expected

    @pytest.mark.parametrize(
        ("pixels", "expected"),
        [
            (solid(RED), RED),
            (solid((77,)), (77, 77, 77)),
            (solid((77, 200)), (77, 77, 77)),
            (solid((*RED, 9, 8)), RED),
            (solid((*RED, 255)), RED),
            (solid((200 * 257, 30 * 257, 40 * 257), dtype="uint16"), RED),
            (solid((65535,), dtype="uint16"), (255, 255, 255)),
            (solid((0.0, 0.5, 1.0), dtype="float32"), (0, 128, 255)),
            (solid((-3.0, np.nan, 7.0), dtype="float32"), (0, 0, 255)),
        ],
        ids=["rgb", "grey", "two", "five", "rgba", "uint16", "white16", "float32", "beyond"],
    )
    def test_shows_the_colours_of_every_pixel_type(self, pixels, expected):
        image = thumbnail_of(pixels, 40)
        assert image.mode == "RGB"
        assert image.getcolors() == [(40 * 30, expected)]

    def test_shows_a_checkerboard_through_what_is_transparent(self):
        image = thumbnail_of(solid((*RED, 0), 40, 40), 40)
        assert sorted(image.getcolors()) == [(12 * 64, (232, 232, 232)), (13 * 64, (255, 255, 255))]

    def test_lays_half_transparent_over_the_checkerboard(self):
        assert thumbnail_of(solid((0, 0, 0, 128), 40, 40), 40).getpixel((0, 0)) == (127, 127, 127)

    def test_enlarges_pixel_by_pixel(self):
        pixels = np.array([[[0], [255]], [[255], [0]]], np.uint8)
        image = np.asarray(thumbnail_of(pixels, 10))[..., 0]
        assert (image == np.kron([[0, 255], [255, 0]], np.ones((5, 5)))).all()

    def test_reads_a_view_that_runs_backwards(self):
        gradient = np.arange(64, dtype=np.uint8).reshape(1, 64, 1)
        assert (np.asarray(thumbnail_of(gradient[:, ::-1], 64))[0, :, 0] == np.arange(64)[::-1]).all()

    def test_placeholder_is_crossed_out(self):
        image = np.asarray(placeholder((80, 60))).astype(int)
        background = image[30, 5]
        assert (background == image[5, 40]).all()
        for y, x in ((1, 1), (30, 40), (58, 78), (1, 78), (58, 1)):
            assert np.abs(image[y, x] - background).max() > 20, (y, x)


class TestContactSheet:
    def test_draws_each_variant_in_its_proportions(self):
        variants = [
            ("wide", solid(RED, 300, 400)),
            ("high", solid(RED, 400, 300)),
            ("small", solid(RED, 3, 4)),
        ]
        page = drawn(contact_sheet([("cat.jpg", variants)], thumbnail=80))
        assert sorted(fields(page, RED)) == [(60, 80), (60, 80), (80, 60)]

    def test_goes_on_in_the_next_line(self):
        variants = [(f"v{i}", solid(RED)) for i in range(7)]
        page = drawn(contact_sheet([("cat.jpg", variants)], thumbnail=80, columns=3))
        lines = np.flatnonzero((page == RED).all(axis=2).any(axis=1))
        assert len(fields(page, RED)) == 7
        assert len(lines) == 3 * 60
        assert np.count_nonzero(np.diff(lines) > 1) == 2

    def test_is_as_wide_as_its_longest_line(self):
        one, three = (contact_sheet([("k", [("v", solid(RED))] * n)], thumbnail=200) for n in (1, 3))
        assert three.width - one.width >= 2 * 200 - 40
        assert contact_sheet([("k", [("v", solid(RED))] * 9)], thumbnail=200, columns=3).width == three.width

    def test_a_failed_variant_is_a_placeholder_of_its_neighbours_size(self):
        whole = contact_sheet([("k", [("a", solid(RED)), ("b", solid(RED))])])
        broken = contact_sheet([("k", [("a", solid(RED)), ("b", None)])])
        assert (whole.width, whole.height) == (broken.width, broken.height)
        page = drawn(broken)
        assert len(fields(page, RED)) == 1
        assert fields(page, (220, 38, 38), 0), "its caption is red"

    def test_an_image_of_which_nothing_was_made_is_still_there(self):
        sheet = contact_sheet([("lost.jpg", [("read", None)])], thumbnail=100)
        assert (sheet.images, sheet.variants) == (1, 1)
        assert sheet.height > 100

    def test_names_each_image_above_its_variants(self):
        rows = [("first.jpg", [("v", solid(RED))]), ("second.jpg", [("v", solid(RED))])]
        page = drawn(contact_sheet(rows, thumbnail=80))
        red = (page == RED).all(axis=2).any(axis=1)
        ink = (page.max(axis=2) < 60).any(axis=1)
        top, second = np.flatnonzero(red)[0], np.flatnonzero(red)[60]
        assert ink[:top].any()
        assert ink[top + 60 : second].any()

    @pytest.mark.parametrize(
        "text",
        ["x" * 500, "a/b\nc\t.jpg", "caf\udce9.jpg", "", "猫.jpg"],
        ids=["long", "control", "not-utf8", "empty", "no-glyph"],
    )
    def test_any_text_stays_within_the_margins(self, text):
        page = drawn(contact_sheet([(text, [(text, solid(RED)), (text, solid(RED))])], thumbnail=60))
        assert (page[:, :20] == 255).all()
        assert (page[:, -20:] == 255).all()

    def test_captions_do_not_run_into_each_other(self):
        page = drawn(contact_sheet([("k", [("w" * 80, solid(RED))] * 4)], thumbnail=80))
        caption = page[np.flatnonzero((page == RED).all(axis=2).any(axis=1))[-1] + 3 :]
        for gap in (24 + 80, 24 + 80 + 92, 24 + 80 + 2 * 92):
            assert (caption[:, gap + 1 : gap + 11] == 255).all()

    def test_nothing_is_an_empty_sheet(self):
        assert (drawn(contact_sheet([])) == 255).all()
        assert contact_sheet([("k", [])]).variants == 0

    @pytest.mark.parametrize("name", ["thumbnail", "columns"])
    def test_refuses_no_room(self, name):
        with pytest.raises(RecipeError, match=rf"{name}=0.*at least 1"):
            contact_sheet([], **{name: 0})

    def test_shows_in_a_notebook_saves_and_pickles(self, tmp_path):
        sheet = contact_sheet([("k", [("v", solid(RED))])])
        path = sheet.save(tmp_path / "new" / "preview.png")
        assert path == tmp_path / "new" / "preview.png"
        assert path.read_bytes() == sheet.png == sheet._repr_png_()
        assert pickle.loads(pickle.dumps(sheet)) == sheet
        assert len(repr(sheet)) < 80

    def test_refuses_to_save_a_png_under_another_name(self, tmp_path):
        with pytest.raises(RecipeError, match=r"preview\.jpg"):
            contact_sheet([]).save(tmp_path / "preview.jpg")


class TestProgress:
    def test_shows_outputs_and_failures_on_stderr_only(self, capsys):
        with Progress(64, enabled=True) as progress:
            progress.advance(40)
            progress.advance(24, failed=3)
        out, err = capsys.readouterr()
        assert out == ""
        for word in ("64/64", "outputs/s", "3 inputs failed"):
            assert word in err

    def test_says_nothing_of_failures_without_any(self, capsys):
        with Progress(2, enabled=True) as progress:
            progress.advance(1)
        err = capsys.readouterr().err
        assert "1/2" in err
        assert "failed" not in err

    def test_is_silent_where_nobody_looks(self, capsys):
        with Progress(2) as progress:
            progress.advance(2, failed=1)
        assert (progress.enabled, progress.outputs, progress.failed) == (False, 2, 1)
        assert capsys.readouterr() == ("", "")

    def test_shows_on_a_terminal(self, monkeypatch):
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        assert Progress(1).enabled

    def test_stops_when_the_run_does(self, capsys):
        with pytest.raises(KeyError), Progress(2, enabled=True) as progress:
            raise KeyError
        assert progress._bar is None
        assert "0/2" in capsys.readouterr().err


def test_html_table_shows_markup_as_text():
    page = html_table([("<b>name</b>", '"x" & <script>')], title="<i>Report</i>")
    assert "<b>" not in page
    assert "<i>" not in page
    assert "<script>" not in page
    assert "&lt;b&gt;name&lt;/b&gt;" in page
    assert "&quot;x&quot; &amp; &lt;script&gt;" in page
    assert page.count("<tr>") == 1


class TestLabels:
    GREY = solid((90,), 100, 200)

    def drawn(self, **columns):
        picture = thumbnail_of(self.GREY, 100)
        return np.asarray(with_targets(picture, Targets(**columns), 200, 100)).astype(int)

    def changed(self, page):
        return (page != 90).any(axis=2)

    def test_a_box_is_a_frame_in_its_place(self):
        found = np.argwhere(self.changed(self.drawn(boxes=[(40, 20, 120, 80)], classes=["cat"])))
        assert np.abs(found.min(axis=0) - (10, 20)).max() <= 2
        assert np.abs(found.max(axis=0) - (40, 60)).max() <= 2
        assert not self.changed(self.drawn(boxes=[(40, 20, 120, 80)]))[25, 40], "and nothing in it"

    def test_a_polygon_is_drawn_and_its_box_is_not(self):
        page = self.changed(self.drawn(polygons=[[(40, 20), (160, 20), (40, 90)]]))
        assert page[10, 40]
        assert not page[45, 78], "the box's corner"

    def test_a_keypoint_is_a_dot_unless_it_has_left(self):
        page = self.changed(self.drawn(keypoints=[[(100, 50, 2), (20, 20, 0)]]))
        assert page[25, 50]
        assert not page[10, 10]

    def test_a_mask_is_a_tint_with_a_colour_for_each_value(self):
        mask = np.zeros((100, 200), np.uint16)
        mask[:, 100:150], mask[:, 150:] = 1, 2
        page = self.drawn(masks={"m": mask})
        assert not self.changed(page)[:, :49].any()
        assert self.changed(page)[:, 51:].all()
        assert (page[5, 60] != page[5, 90]).any()

    def test_the_colour_is_the_class(self):
        cat, again, dog = (self.drawn(boxes=[(40, 20, 120, 80)], classes=[name]) for name in ("cat", "cat", "dog"))
        assert (cat == again).all()
        assert (cat != dog).any()

    def test_are_on_the_sheet(self):
        targets = Targets(boxes=[(40, 20, 120, 80)])
        bare, labelled = (contact_sheet([("k", [("v", self.GREY, some)])]) for some in (None, targets))
        assert (drawn(bare) != drawn(labelled)).any()
