"""Only what has failed is tried again: nothing new, nothing that was never tried, nothing that is there."""

import json
import subprocess
import sys

import cv2
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.target import RUN_RECORD

ONE, TWO = [ops.HorizontalFlip()], [ops.HorizontalFlip(), ops.GaussNoise()]
LAYOUTS = ["files", "webdataset", "parquet"]


@pytest.fixture
def folder(tmp_path, make_photos):
    """Forty photos, two of which cannot be read."""
    made = make_photos(tmp_path / "in", 40)
    for name in ("007.jpg", "023.jpg"):
        (made / name).write_bytes(b"no image")
    return made


def mend(folder, name, pixels, number=99):
    (folder / name).write_bytes(cv2.imencode(".jpg", pixels(number))[1].tobytes())


def write(folder, target, recipe=ONE, **options):
    return ks.augment(folder, recipe, target, seed=7, format="png", **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_failed_is_made_and_new_images_and_ops_are_left_to_a_usual_run(
    folder, tmp_path, pixels, make_photos, rows, layout
):
    write(folder, tmp_path / "out", layout=layout).compute()
    make_photos(folder, 5, first=40)
    make_photos(folder, 1, first=3, shape=(20, 30, 3))  # changed, but it had not failed
    mend(folder, "007.jpg", pixels)
    record = json.loads((tmp_path / "out" / RUN_RECORD).read_text())

    retried = write(folder, tmp_path / "out", TWO, layout=layout, only_failed=True)
    assert retried.left == 4
    report = retried.compute()
    assert (report.inputs, report.outputs, report.skipped, report.failed) == (2, 2, 0, 1)
    made = rows(tmp_path / "out")
    assert len(made) == 80
    assert made[made["status"] == "failed"]["key"].unique().tolist() == ["023.jpg"]
    assert {**json.loads((tmp_path / "out" / RUN_RECORD).read_text()), "inputs": []} == {**record, "inputs": []}
    assert ks.Report.read(tmp_path / "out").verify(checksums=True).ok

    report = write(folder, tmp_path / "out", TWO, layout=layout).compute()
    assert ks.Report.read(tmp_path / "out").verify(checksums=True).ok
    write(folder, tmp_path / "clean", TWO, layout=layout).compute()
    same = ["key", "variant", "output", "status", "params", "bytes", "checksum", "source_size"]
    assert rows(tmp_path / "out")[same].equals(rows(tmp_path / "clean")[same])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_of_which_a_part_failed_and_that_changed_is_made_again_as_a_whole(
    tmp_path, make_photos, pixels, rows, layout
):
    folder = make_photos(tmp_path / "in", 3)
    cv2.imwrite(str(folder / "small.png"), pixels(5, (20, 30, 3)))
    recipe = ops.Branch(whole=ops.HorizontalFlip(), part=ops.CenterCrop(40, 40))
    assert write(folder, tmp_path / "out", recipe, layout=layout).compute().failed == 1
    cv2.imwrite(str(folder / "small.png"), pixels(6, (20, 30, 3)))
    again = write(folder, tmp_path / "out", recipe, layout=layout, only_failed=True).compute()
    assert (again.inputs, again.failed) == (1, 1)
    assert again.outputs == (1 if layout == "files" else 7), "of a shard with outputs of the old image all is made anew"
    write(folder, tmp_path / "clean", recipe, layout=layout).compute()
    assert ks.Report.read(tmp_path / "out").verify(checksums=True).ok
    same = ["key", "variant", "output", "status", "bytes", "checksum"]
    assert rows(tmp_path / "out")[same].equals(rows(tmp_path / "clean")[same])


def test_what_fails_again_changes_nothing_and_what_was_never_tried_is_left(folder, tmp_path, files):
    write(folder, tmp_path / "out").compute()
    parts = tmp_path / "out" / "_kaleidoscope" / "manifest"
    max(parts.iterdir()).unlink()  # as of a run that was killed
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    report = write(folder, tmp_path / "out", only_failed=True).compute()
    assert (report.inputs, report.outputs, report.failed) == (2, 0, 2)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_it_makes_what_a_repair_asks_for_and_that_alone(photos, tmp_path, make_photos, files):
    folder = make_photos(tmp_path / "in", 20)
    write(folder, tmp_path / "out").compute()
    before = files(tmp_path / "out")
    for name in sorted(before)[5:8]:
        (tmp_path / "out" / name).unlink()
    make_photos(folder, 1, first=20)
    assert ks.Report.read(tmp_path / "out").verify().repair() == 3
    report = write(folder, tmp_path / "out", only_failed=True).compute()
    assert (report.inputs, report.outputs, report.skipped) == (2, 3, 1)
    assert files(tmp_path / "out") == before


def test_where_nothing_failed_there_is_nothing_to_do(photos, tmp_path):
    write(photos, tmp_path / "out").compute()
    again = write(photos, tmp_path / "out", only_failed=True)
    assert again.left == 0
    assert again.compute().inputs == 0


def test_where_no_run_was_it_is_refused(photos, tmp_path):
    with pytest.raises(StoreError, match=r"nothing can have failed in .*out: no run was there"):
        write(photos, tmp_path / "out", only_failed=True).compute()
    assert not (tmp_path / "out").exists()
    with pytest.raises(RecipeError, match="overwrite=True deletes what has failed"):
        write(photos, tmp_path / "out", only_failed=True, overwrite=True)


def test_of_another_recipe_it_is_refused_like_any_run(photos, tmp_path):
    write(photos, tmp_path / "out").compute()
    with pytest.raises(RecipeError, match="outputs of another recipe"):
        write(photos, tmp_path / "out", [ops.Rotate(5)], only_failed=True).compute()


def test_of_a_sample_only_what_was_drawn_is_tried_again(folder, tmp_path, pixels):
    def drawn():
        return ks.augment(folder, TWO, seed=7).sample(2)

    drawn().write(tmp_path / "out").compute()
    mend(folder, "007.jpg", pixels)
    report = drawn().write(tmp_path / "out", only_failed=True).compute()
    assert (report.inputs, report.outputs, report.failed) == (2, 2, 1)


def test_command(folder, tmp_path, pixels, make_photos):
    write(folder, tmp_path / "out").compute()
    mend(folder, "007.jpg", pixels)
    make_photos(folder, 1, first=40)
    ks.dump_recipe(ONE, tmp_path / "recipe.yaml")
    words = ["augment", "in", "out", "-r", "recipe.yaml", "--seed", "7", "--format", "png", "--only-failed", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "kaleidoscope", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["inputs"], found["outputs"], found["failed"]) == (2, 2, 1)
