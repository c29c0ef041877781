"""An image that cannot be read or written is rows in the manifest; the others go on."""

import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import kaleidoscope as ks
from kaleidoscope.errors import DecodeError, RecipeError
from kaleidoscope.record import ImageRecord

BAD = {"060.png": "encode", "070.png": "encode", "080.jpg": "decode", "090.jpg": "decode"}


@pytest.fixture(scope="module")
def mixed(make_photos, pixels, tmp_path_factory):
    """A hundred images: 95 photos, one grey, and four that cannot become a JPEG."""
    folder = make_photos(tmp_path_factory.mktemp("mixed") / "photos", 100)
    for number in (50, 60, 70):
        (folder / f"{number:03d}.jpg").unlink()

    def png(name, pixels):
        (folder / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())

    png("050.png", pixels(50, (48, 64)))
    png("060.png", pixels(60, dtype="uint16"))
    png("070.png", pixels(70, (48, 64, 4)))
    whole = (folder / "080.jpg").read_bytes()
    (folder / "080.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "090.jpg").write_text("this is a text file")
    return folder


def test_bad_images_are_rows_and_the_other_96_go_on(mixed, augmented, check_whole, tmp_path):
    report = augmented(mixed).write(tmp_path / "out").compute()
    assert (report.inputs, report.outputs, report.skipped, report.failed) == (100, 96 * 64, 0, 4)
    rows, files = check_whole(tmp_path / "out")
    assert len(files) == 96 * 64
    assert report.bytes == sum(map(len, files.values())) == rows["bytes"].sum()

    failed = rows[rows["status"] == "failed"]
    assert failed.groupby("key").size().to_dict() == dict.fromkeys(BAD, 64)
    reasons = failed[["key", "step", "error"]].drop_duplicates()
    assert dict(zip(reasons["key"], reasons["step"], strict=True)) == BAD
    assert len(reasons) == 4
    said = dict(zip(reasons["key"], reasons["error"], strict=True))
    assert "RecipeError: jpg holds uint8" in said["060.png"]
    assert "64x48x3 uint16" in said["060.png"]
    assert "64x48x4 uint8" in said["070.png"]
    assert said["080.jpg"].startswith("DecodeError: cut short or corrupt")
    assert said["090.jpg"].startswith("DecodeError: ")
    assert failed["output"].isna().all()
    assert failed["checksum"].isna().all()
    assert rows[rows["status"] == "ok"]["error"].isna().all()

    grouped = report.errors
    assert list(grouped.columns) == ["key", "step", "error", "variants"]
    assert dict(zip(grouped["key"], grouped["variants"], strict=True)) == dict.fromkeys(BAD, 64)
    grey = Image.open(io.BytesIO(files["050__original.png.jpg"]))
    assert grey.mode == "L"


def test_png_holds_the_16_bit_and_the_transparent_one(mixed, augmented, check_whole, tmp_path):
    report = augmented(mixed, 2).write(tmp_path / "out", format="png").compute()
    assert (report.inputs, report.outputs, report.failed) == (100, 98 * 4, 2)
    rows, files = check_whole(tmp_path / "out")
    assert set(rows[rows["status"] == "failed"]["key"]) == {"080.jpg", "090.jpg"}
    frames = rows[rows["variant"] == "original"].set_index("key")[["dtype", "channels"]]
    for key, dtype, channels in (("050.png", "uint8", 1), ("060.png", "uint16", 3), ("070.png", "uint8", 4)):
        assert frames.loc[key].tolist() == [dtype, channels]
        source, output = (mixed / key).read_bytes(), files[f"{key[:3]}__original.png"]
        read = [cv2.imdecode(np.frombuffer(data, "u1"), cv2.IMREAD_UNCHANGED) for data in (source, output)]
        assert read[1].dtype == dtype
        assert np.array_equal(*read)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_raise_names_key_and_step_and_leaves_the_target_resumable(scheduler, mixed, augmented, check_whole, tmp_path):
    target = tmp_path / "out"
    with pytest.raises((DecodeError, RecipeError)) as caught:
        augmented(mixed, 2, on_error="raise").write(target).compute(scheduler=scheduler)
    assert caught.value.step == BAD[caught.value.key]
    # With several threads the bad one may come up before any block is committed, and then there is nothing to say.
    committed = any(target.glob("_kaleidoscope/manifest/*"))
    said = any("the same write goes on from there" in note for note in getattr(caught.value, "__notes__", ()))
    assert said == committed
    assert committed or scheduler == "threads"
    report = augmented(mixed, 2).write(target).compute()
    assert report.outputs + report.skipped == 96 * 4
    assert (report.inputs, report.failed) == (100, 4)
    check_whole(target)


@pytest.mark.parametrize("wanted", ["jpg", "png", "webp", "tiff", "npy"])
@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("L", (48, 64, 1), "uint8"),
        ("RGB", (48, 64, 3), "uint8"),
        ("RGBA", (48, 64, 4), "uint8"),
        ("16", (48, 64, 3), "uint16"),
        ("float", (48, 64, 3), "float32"),
    ],
)
def test_formats_hold_what_they_can_and_refuse_the_rest(wanted, mode, shape, dtype, pixels, augmented, files, tmp_path):
    held = {
        "jpg": {"L", "RGB"},
        "png": {"L", "RGB", "RGBA", "16"},
        "webp": {"RGB", "RGBA"},
        "tiff": {"L", "RGB", "RGBA", "16", "float"},
        "npy": {"L", "RGB", "RGBA", "16", "float"},
    }
    image = (pixels(1, shape) / np.float32(255) if dtype == "float32" else pixels(1, shape, dtype)).astype(dtype)
    image = image.reshape(shape)
    report = augmented([("a", image)], 1).write(tmp_path / "out", format=wanted).compute()
    if mode not in held[wanted]:
        assert (report.outputs, report.failed) == (0, 1)
        assert report.errors["step"].tolist() == ["encode"]
        assert "RecipeError" in report.errors["error"][0]
        assert files(tmp_path / "out") == {}
        return
    assert (report.outputs, report.failed) == (2, 0)
    row = report.manifest.compute().iloc[0]
    assert (row["dtype"], row["channels"]) == (dtype, shape[2])
    path = tmp_path / "out" / f"a__original.{wanted}"
    if wanted == "npy":
        read = np.load(path)
    elif dtype == "uint8":
        opened = Image.open(path)
        assert (opened.format, opened.mode) == ({"jpg": "JPEG"}.get(wanted, wanted.upper()), mode)
        read = np.asarray(opened).reshape(shape)
    else:
        read = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGR2RGB)
    assert read.dtype == dtype
    if wanted in {"jpg", "webp"}:
        assert np.abs(read.astype(int) - image)[..., :3].mean() < 4
    else:
        assert np.array_equal(read, image)


def test_missing_file_is_a_failed_row(make_photos, augmented, rows, tmp_path):
    dataset = ks.read_images(make_photos(tmp_path / "photos", 3))
    (tmp_path / "photos" / "001.jpg").unlink()
    report = augmented(dataset, 1).write(tmp_path / "out").compute()
    assert (report.inputs, report.outputs, report.failed) == (3, 4, 1)
    failed = rows(tmp_path / "out").query("status == 'failed'")
    assert failed["step"].tolist() == ["read", "read"]


@pytest.fixture
def several(pixels, tmp_path):
    """A photo, and a file of each format that may hold several pages or frames, with three of them."""
    folder = tmp_path / "several"
    folder.mkdir()
    first, *others = [Image.fromarray(pixels(i)) for i in range(3)]
    first.save(folder / "one.png")
    for name in ("scan.tiff", "cat.gif", "dog.webp", "bird.png"):
        first.save(folder / name, save_all=True, append_images=others)
    return folder


def test_of_several_pages_the_first_is_taken_and_that_is_said(several, augmented, pixels, rows, tmp_path):
    report = augmented(several, 1).write(tmp_path / "out", format="png").compute()
    assert (report.inputs, report.outputs, report.failed) == (5, 10, 0)
    assert "pages  4 inputs of several pages or frames: the first was taken" in str(report)
    table = rows(tmp_path / "out").query("variant == 'original'").set_index("key")
    assert dict(table["source_pages"]) == {"one.png": 1} | dict.fromkeys(
        ["scan.tiff", "cat.gif", "dog.webp", "bird.png"], 3
    )
    for key, output in table["output"].items():
        made = cv2.cvtColor(cv2.imread(str(tmp_path / "out" / output)), cv2.COLOR_BGR2RGB)
        assert np.abs(made.astype(int) - pixels(0)).mean() < 12, f"{key}: not its first page"
    records = {record.key: record.metadata for record in augmented(several, 1).compute()}
    assert records["cat.gif"] == {"format": "gif", "pages": 3}
    assert records["one.png"] == {"format": "png"}


def test_manifest_from_before_there_was_a_column_is_read(several, augmented, rows, tmp_path):
    target = tmp_path / "out"
    augmented(several / "one.png", 1).write(target, format="png").compute()
    (part,) = (target / "_kaleidoscope" / "manifest").iterdir()
    pq.write_table(pq.read_table(part).drop_columns("source_pages"), part)
    assert rows(target)["source_pages"].isna().all()
    augmented(several, 1).write(target, format="png").compute()
    assert rows(target)["source_pages"].value_counts().to_dict() == {3: 8}


@pytest.mark.parametrize("mine", ["many", 2**40, -1, True, None])
def test_pages_that_a_user_wrote_into_a_record_do_no_harm(mine, pixels, augmented, rows, tmp_path):
    record = ImageRecord("a", pixels(1), metadata={"pages": mine})
    assert augmented([record], 1).write(tmp_path / "out").compute().outputs == 2
    assert rows(tmp_path / "out")["source_pages"].isna().all()


def claiming(width, height):
    """Return a PNG whose header says so, with nothing behind it that could fill it."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"0" * 99))]
    out = b"\x89PNG\r\n\x1a\n"
    for name, content in [*chunks, (b"IEND", b"")]:
        out += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return out


#: What lies in a file -> the step and the words of what is said of it.
NO_IMAGES = {
    "text.jpg": (
        b"this is a text file",
        "decode",
        r"expected JPEG, PNG, .*; got 19 bytes that look like text \('this is",
    ),
    "page.jpg": (b"<html>Not found</html>", "decode", "got 22 bytes that look like text"),
    "empty.png": (b"", "decode", "got no bytes at all \\(an empty file\\)"),
    "zip.tiff": (b"PK\x03\x04" + bytes(40), "decode", "look like a zip archive"),
    "huge.png": (claiming(50_000, 50_000), "decode", "50000x50000 is 2,500,000,000 pixels, over the limit of "),
    "large.png": (claiming(16_000, 16_000), "decode", "69 bytes cannot hold the 16000x16000 pixels"),
    "cut.gif": (b"GIF89a\x05", "decode", "the gif header is cut short"),
}


@pytest.fixture
def no_images(make_photos, tmp_path):
    """Two photos among files that are none."""
    folder = make_photos(tmp_path / "mixed", 2)
    for name, (data, _, _) in NO_IMAGES.items():
        (folder / name).write_bytes(data)
    whole = (folder / "001.jpg").read_bytes()
    (folder / "001.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def test_what_is_no_image_is_said_by_key_and_step_and_the_photo_comes_out(no_images, augmented, rows, tmp_path):
    wanted = {**NO_IMAGES, "001.jpg": (b"", "decode", "cut short or corrupt")}
    report = augmented(no_images, 1).write(tmp_path / "out").compute()
    assert (report.inputs, report.outputs, report.failed) == (9, 2, 8)
    table = rows(tmp_path / "out").query("status == 'failed'")
    assert table.groupby("key").size().to_dict() == dict.fromkeys(wanted, 2)
    for row in table.itertuples():
        _, step, words = wanted[row.key]
        assert row.step == step
        assert re.search(words, row.error), row.error

    records = augmented(no_images, 1).compute()
    assert [record.key for record in records if record.error is None] == ["000.jpg"] * 2
    for record in records:
        if record.error is not None:
            _, step, words = wanted[record.key]
            assert re.search(f"^{record.key}: {step}: .*{words}", str(record.error)), record.error


@pytest.mark.parametrize("name", ["huge.png", "large.png"])
def test_a_header_that_claims_gigabytes_takes_no_memory(name, tmp_path, make_photos):
    """Run in processes of their own: what others have allocated does not hide it."""
    code = (
        "import re, sys; from pathlib import Path; import kaleidoscope as ks; from kaleidoscope import ops\n"
        "print(ks.augment(sys.argv[1], [ops.HorizontalFlip()]).write(sys.argv[2]).compute().failed,"
        "re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not say how much memory a process has had")
    taken = []
    for failed in (0, 1):
        folder = make_photos(tmp_path / f"photos-{failed}", 1)
        if failed:
            (folder / name).write_bytes(NO_IMAGES[name][0])
        command = [sys.executable, "-c", code, str(folder), str(tmp_path / f"out-{failed}")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said, kilobytes = done.stdout.split()
        assert int(said) == failed
        taken.append(int(kilobytes))
    assert taken[1] - taken[0] < 50_000
