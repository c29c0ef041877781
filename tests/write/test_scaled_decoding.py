"""Chains that begin by shrinking start from a JPEG decoded smaller: what that makes, and what it leaves as it was."""

import io
import json
import tracemalloc

import cv2
import dask
import numpy as np
import pytest
from PIL import Image

import kaleidoscope as ks
from kaleidoscope import ops, samples
from kaleidoscope.codecs import decode
from kaleidoscope.errors import OpError
from kaleidoscope.ops.base import Op, op
from kaleidoscope.record import ImageRecord, Source
from kaleidoscope.targets import Targets

PHOTOGRAPHS = sorted(path for path in samples.folder().iterdir() if path.suffix in {".jpg", ".png"})
SMALL = ops.Resize(24, 32, interpolation="area")
FLIP, NOISE = ops.HorizontalFlip(), ops.GaussNoise()


def photograph(path=PHOTOGRAPHS[0], size=(640, 480)):
    return Image.open(path).convert("RGB").resize(size)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "JPEG", quality=92, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder with three photographs of 640 x 480 pixels."""
    for number, path in enumerate(PHOTOGRAPHS[:3]):
        save(tmp_path / "in" / f"{number}.jpg", photograph(path))
    return tmp_path / "in"


def written(source, recipe, target, **options):
    """Write as npy; return the report, and the pixels by key and variant."""
    report = ks.augment(source, recipe, target, seed=5, format="npy", **options).compute()
    rows = [row for _, row in ks.read_manifest(target).compute().iterrows()]
    assert {row["status"] for row in rows} == {"ok"}, rows
    return report, {(row["key"], row["variant"]): np.load(target / row["output"]) for row in rows}


def decodes(report):
    return {name: count for name, count in report.counts.items() if name.startswith("decode")}


def in_full(path, recipe):
    """Return the variants of the same pixels, given as pixels, which are decoded by nobody."""
    pixels, _ = decode(path.read_bytes(), key="")
    records = ks.augment([ImageRecord(path.name, pixels)], recipe, seed=5).compute()
    return {record.variant: record.pixels for record in records}


def distance(one, other):
    assert one.shape == other.shape
    return np.abs(one.astype(int) - other).mean()


class TestPixels:
    @pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.stem)
    def test_of_12_megapixels_are_within_2_levels_of_those_decoded_in_full(self, path, tmp_path):
        large = save(tmp_path / "in" / "a.jpg", photograph(path, (4000, 3000)))
        recipe = ops.Branch(
            tiny=ops.Resize(150, 200, interpolation="area"),
            usual=ops.Resize(256, 341, area_for_downscale="image"),
            half=ops.Resize(1400, 1900, interpolation="area"),
        )
        report, made = written(tmp_path / "in", recipe, tmp_path / "out")
        assert decodes(report) == {"decode": 3, "decode_8": 1, "decode_4": 1, "decode_2": 1}
        for variant, pixels in in_full(large, recipe).items():
            assert distance(made["a.jpg", variant], pixels) <= 2, variant

    def test_full_of_detail_are_within_2_levels_too(self, tmp_path):
        # A mosaic of a photograph at its own size: beside it, real ones of 12 megapixels are blurred.
        part = cv2.cvtColor(cv2.imread(str(samples.folder() / "coffee.jpg")), cv2.COLOR_BGR2RGB)[:384, :512]
        large = save(tmp_path / "in" / "a.jpg", Image.fromarray(np.tile(part, (4, 4, 1))))
        sides = [(round(1536 / by), round(2048 / by)) for by in (2, 2.2, 3.9, 8, 9, 11.7, 15, 16, 18)]
        recipe = ops.Branch(**{f"s{width}": ops.Resize(height, width, interpolation="area") for height, width in sides})
        report, made = written(tmp_path / "in", recipe, tmp_path / "out")
        assert decodes(report) == {"decode": 3, "decode_8": 1, "decode_4": 1, "decode_2": 1}
        for variant, pixels in in_full(large, recipe).items():
            assert distance(made["a.jpg", variant], pixels) <= 2, variant

    def test_of_grey_stay_grey(self, tmp_path):
        path = save(tmp_path / "in" / "a.jpg", photograph().convert("L"))
        report, made = written(tmp_path / "in", SMALL, tmp_path / "out")
        assert report.counts["decode_8"] == 1
        assert made["a.jpg", "resize"].shape == (24, 32, 1)
        assert distance(made["a.jpg", "resize"], in_full(path, SMALL)["resize"]) <= 2

    @pytest.mark.parametrize("orientation", [3, 6, 7])
    def test_are_upright_and_measured_upright(self, tmp_path, orientation):
        block = Image.Exif()
        block[0x0112] = orientation
        path = save(tmp_path / "in" / "a.jpg", photograph(), exif=block.tobytes())
        lying = orientation > 4
        recipe = ops.Resize(*(300, 24) if lying else (24, 300), interpolation="area")
        report, made = written(tmp_path / "in", recipe, tmp_path / "out")
        assert decodes(report) == {"decode": 1, "decode_2": 1}  # 640 to 300; lying as stored it would be 480 to 300
        assert distance(made["a.jpg", "resize"], in_full(path, recipe)["resize"]) <= 2

    @pytest.mark.parametrize(
        ("size", "wanted"),
        [((640, 480), 8), ((636, 480), 4), ((640, 474), 2), ((641, 480), 1), ((640, 477), 1)],
        ids=str,
    )
    def test_of_sides_that_cannot_be_divided_are_decoded_larger(self, tmp_path, size, wanted):
        path = save(tmp_path / "in" / "a.jpg", photograph(size=size))
        report, made = written(tmp_path / "in", SMALL, tmp_path / "out")
        assert decodes(report) == {"decode": 1, **({f"decode_{wanted}": 1} if wanted > 1 else {})}
        assert distance(made["a.jpg", "resize"], in_full(path, SMALL)["resize"]) <= (2 if wanted > 1 else 0)

    @pytest.mark.parametrize("kind", ["cmyk", "png"])
    def test_of_others_are_those_decoded_in_full(self, tmp_path, kind):
        path = tmp_path / "in" / ("a.png" if kind == "png" else "a.jpg")
        path.parent.mkdir()
        image = photograph()
        image.save(path, "PNG") if kind == "png" else image.convert("CMYK").save(path, "JPEG")
        report, made = written(tmp_path / "in", SMALL, tmp_path / "out")
        assert decodes(report) == {"decode": 1}
        np.testing.assert_array_equal(made[path.name, "resize"], in_full(path, SMALL)["resize"])


class TestWhatIsScaled:
    @pytest.mark.parametrize(
        ("recipe", "wanted"),
        [
            (SMALL, {"decode": 3, "decode_8": 3}),
            ([SMALL], {"decode": 6, "decode_8": 3}),  # the original, too
            (ops.Sequential(SMALL, FLIP, NOISE), {"decode": 3, "decode_8": 3}),
            (ops.Branch(a=SMALL, b=ops.Sequential(SMALL, NOISE)), {"decode": 3, "decode_8": 3}),
            (ops.Repeat(ops.Sequential(SMALL, NOISE), 3), {"decode": 3, "decode_8": 3}),
            (ops.Sequential(FLIP, SMALL), {"decode": 3}),
            (ops.Sequential(NOISE, SMALL), {"decode": 3}),
            (ops.Sometimes(SMALL, p=1), {"decode": 3}),
            (ops.Resize(24, 32), {"decode": 3}),
            (ops.Resize(24, 32, interpolation="cubic"), {"decode": 3}),
            (ops.Resize(24, 32, interpolation="cubic", area_for_downscale="image"), {"decode": 3, "decode_8": 3}),
            (ops.Resize(240, 320, area_for_downscale="image_mask"), {"decode": 3, "decode_2": 3}),
            (ops.Resize(60, 80, interpolation="area"), {"decode": 3, "decode_4": 3}),
            (ops.Resize(24, 321, interpolation="area"), {"decode": 3}),
            (ops.Resize(960, 1280, interpolation="area"), {"decode": 3}),
        ],
        ids=repr,
    )
    def test_is_the_first_op_if_it_takes_means_and_halves(self, folder, tmp_path, recipe, wanted):
        assert decodes(written(folder, recipe, tmp_path / "out")[0]) == wanted

    def test_only_what_is_wanted_is_decoded(self, folder, tmp_path):
        views = ks.augment(folder, ops.Branch(whole=FLIP, small=SMALL), seed=5)
        names = [record.variant for record in views.sample(1).compute()]
        report = views.sample(1).write(tmp_path / "out").compute()
        wanted = {"decode": 3, "decode_8": names.count("small-resize")}
        assert decodes(report) == {name: count for name, count in wanted.items() if count}

    def test_an_op_of_ones_own_may_say_so(self, folder, tmp_path):
        report, made = written(folder, _Mean(), tmp_path / "out")
        assert decodes(report) == {"decode": 3, "decode_8": 3}
        assert made["0.jpg", "mean"].shape == (1, 1, 3)

    def test_explain_tells(self, folder):
        said = ks.augment(folder, [SMALL, FLIP]).explain()
        assert "1 to 2 decodes" in said
        (line,) = [line for line in said.splitlines() if "decoded at 1/2 to 1/8" in line]
        assert "─ resize " in line
        assert "1 decode," in ks.augment(folder, SMALL).explain()
        assert "1/2" not in ks.augment(folder, ops.Sequential(FLIP, SMALL)).explain()


@op
class _Mean(Op):
    short_name = "mean"

    def out_frame(self, frame, params):
        if frame.width < 640:
            raise OpError("it is the whole frame that is asked about")
        return type(frame)(1, 1, frame.channels, frame.dtype)

    def reduction(self, frame):
        return 100

    def kernel(self, src, params, out):
        out[...] = src.mean(axis=(0, 1))


class TestMemoryAndTime:
    def test_12_megapixels_are_never_held_in_full(self, tmp_path):
        save(tmp_path / "in" / "a.jpg", photograph(size=(4000, 3000)))
        run = ks.augment(tmp_path / "in", ops.Resize(150, 200, interpolation="area")).write(tmp_path / "out")
        tracemalloc.start()
        try:
            report = run.compute(scheduler="sync")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert decodes(report) == {"decode": 1, "decode_8": 1}
        in_file = (tmp_path / "in" / "a.jpg").stat().st_size
        assert peak - in_file < 4000 * 3000 * 3 / 8  # decoded it is a 64th of 36 MB; reading pandas takes some, too


class TestStability:
    def test_a_variant_is_the_same_whatever_else_the_tree_has(self, folder, tmp_path):
        alone = written(folder, ops.Branch(a=SMALL), tmp_path / "alone")[1]
        more = ops.Branch(
            a=SMALL, b=FLIP, c=ops.Resize(200, 300, interpolation="area"), d=ops.Sequential(SMALL, NOISE), e=NOISE
        )
        beside = written(folder, more, tmp_path / "beside")[1]
        for name, pixels in alone.items():
            np.testing.assert_array_equal(beside[name], pixels)

    def test_a_run_that_is_extended_ends_with_the_same_bytes(self, folder, tmp_path, files):
        written(folder, ops.Branch(a=SMALL), tmp_path / "grown")
        report, _ = written(folder, ops.Branch(a=SMALL, b=FLIP), tmp_path / "grown")
        assert decodes(report) == {"decode": 3}  # what is there is not made again
        written(folder, ops.Branch(a=SMALL, b=FLIP), tmp_path / "fresh")
        outputs = [{n: d for n, d in files(tmp_path / t).items() if n.endswith(".npy")} for t in ("grown", "fresh")]
        assert outputs[0] == outputs[1]
        assert len(outputs[0]) == 6

    @pytest.mark.parametrize("how", [{"scheduler": "sync"}, {"scheduler": "threads", "num_workers": 4}])
    def test_neither_threads_nor_partitions_matter(self, folder, tmp_path, how):
        recipe = [SMALL, NOISE]
        wanted = written(folder, recipe, tmp_path / "out")[1]
        for size in (1, 3):
            views = ks.augment(ks.read_images(str(folder), partition_size=size), recipe, seed=5)
            with dask.config.set(**how):
                for record in views.compute(**how):
                    np.testing.assert_array_equal(record.pixels, wanted[record.key, record.variant])

    def test_replays_bit_for_bit(self, folder, tmp_path):
        recipe = ops.Branch(a=ops.Sequential(SMALL, ops.Rotate(20), NOISE), b=ops.Sequential(FLIP, SMALL), c=SMALL)
        made = written(folder, recipe, tmp_path / "out")[1]
        for _, row in ks.read_manifest(tmp_path / "out").compute().iterrows():
            first = json.loads(row["params"])[0]
            assert first.get("reduction", 1) == (1 if row["variant"].startswith("b") else 8)
            np.testing.assert_array_equal(ks.replay(row), made[row["key"], row["variant"]])
            pixels = decode((folder / row["key"]).read_bytes(), key="")[0]
            again = ks.replay(row, source=pixels)
            assert distance(again, made[row["key"], row["variant"]]) <= 2

    def test_replays_in_full_what_was_made_in_full(self, folder, tmp_path):
        path = folder / "0.jpg"
        record = ImageRecord("0.jpg", decode(path.read_bytes(), key="")[0], source=Source(str(path)))
        report, made = written([record], SMALL, tmp_path / "out")
        assert decodes(report) == {}
        (row,) = [row for _, row in ks.read_manifest(tmp_path / "out").compute().iterrows()]
        with pytest.warns(UserWarning, match="bytes now"):  # of pixels the row counts what they take in memory
            np.testing.assert_array_equal(ks.replay(row), made["0.jpg", "resize"])


class TestTargets:
    def test_are_those_of_the_image_decoded_in_full(self, tmp_path):
        path = save(tmp_path / "in" / "a.jpg", photograph())
        mask = np.zeros((480, 640), np.uint8)
        mask[100:300, 50:333] = 3
        targets = Targets(masks={"m": mask}, classes=["cat"], boxes=[(50, 100, 333, 300)], keypoints=[[(99, 101, 2)]])
        recipe = ops.Sequential(SMALL, ops.Rotate(20, border_mode="constant"))
        pixels, _ = decode(path.read_bytes(), key="")
        (full,) = ks.augment([ImageRecord("a.jpg", pixels, targets)], recipe, seed=5).compute()
        dataset = ks.read_images(str(tmp_path / "in")).with_targets(lambda _: targets, version="1")
        (scaled,) = ks.augment(dataset, recipe, seed=5).compute()
        assert scaled.lineage[0].reduction == 8
        assert scaled.targets.objects() == full.targets.objects()
        np.testing.assert_array_equal(scaled.targets.masks["m"], full.targets.masks["m"])
        assert [step.params for step in scaled.lineage] == [step.params for step in full.lineage]

    def test_that_are_dropped_do_not_hide_what_was_decoded(self, tmp_path):
        save(tmp_path / "in" / "a.jpg", photograph())
        targets = Targets(classes=["ant"], boxes=[(50, 100, 55, 105)], min_area=20)
        dataset = ks.read_images(str(tmp_path / "in")).with_targets(lambda _: targets, version="1")
        (record,) = ks.augment(dataset, SMALL, seed=5).compute()
        (step,) = record.lineage
        assert (step.targets, step.reduction) == ({"dropped": 1}, 8)
        assert json.loads(step.text)["reduction"] == 8


class TestFailure:
    def test_a_broken_jpeg_fails_each_variant_by_its_decoding(self, tmp_path):
        data = io.BytesIO()
        photograph().save(data, "JPEG")
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.jpg").write_bytes(data.getvalue()[:4000])
        report = ks.augment(tmp_path / "in", [SMALL, FLIP], tmp_path / "out").compute()
        rows = ks.read_manifest(tmp_path / "out").compute()
        assert (report.failed, decodes(report)) == (1, {})
        assert set(rows["step"]) == {"decode"}
        assert set(rows["params"]) == {"[]"}
        assert len(rows) == 4
