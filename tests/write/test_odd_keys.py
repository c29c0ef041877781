"""Keys of any letters, on disk and in a bucket, and buckets that are not there: by a real S3 server."""

import os
import subprocess
import sys
import unicodedata

import cv2
import fsspec
import numpy as np
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import RecipeError, StoreError

E_COMPOSED, E_DECOMPOSED = "caf\u00e9.png", "cafe\u0301.png"
KEYS = [
    *("a b.png", " .png", "x#1.png", "50%.png", "100%25.png", "%2E%2E.png", "q?.png", "st*r.png", "[1].png"),
    *("{a,b}.png", "a..png", "a...b.png", "-rf.png", "--help.png", "new\nline.png", "tab\t.png", "q'uo\"te.png"),
    *("$HOME.png", "~.png", "back\\slash.png", "a;b|c&d.png", "a::b.png", "a+b=c.png", "NUL.png", "_kaleidoscope.png"),
    *("d [1]/#?*.png", "日本/\U0001f600.png", "-d/--/-.png", f"{'long' * 55}.png", E_COMPOSED, E_DECOMPOSED),
]


def small(number):
    return np.full((4, 6, 3), number, np.uint8)


def png(number):
    return cv2.imencode(".png", small(number))[1].tobytes()


@pytest.fixture
def odd(tmp_path):
    """A folder of pictures with odd names, each of its own grey; a file system may not hold all of them."""
    kept = []
    for number, key in enumerate(KEYS):
        path = tmp_path / "odd [*]" / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))
        except OSError:
            continue
        kept.append(key)
    return tmp_path / "odd [*]", kept


def check(report, source, options, keys):
    """Check that every key has its output, with the pixels of its own picture, and can be made again."""
    assert (report.inputs, report.outputs, report.failed) == (len(keys), 2 * len(keys), 0), report.errors.to_string()
    rows = ks.read_manifest(report.url, storage_options=options).compute()
    assert set(rows["key"]) == set(keys)
    assert rows["output"].is_unique
    fs, target = fsspec.core.url_to_fs(report.url, **options)
    for _, row in rows.iterrows():
        written = np.load(fs.open(f"{target}/{row['output']}"))
        np.testing.assert_array_equal(written, small(KEYS.index(row["key"])), err_msg=row["key"])
        if not options:
            np.testing.assert_array_equal(ks.replay(row), written)
            np.testing.assert_array_equal(ks.replay(row, source), written)


def test_any_name_on_disk_is_written_replayed_and_found_there_again(odd, augmented, tmp_path):
    source, keys = odd
    run = augmented(source, 1).write(tmp_path / "out #1?", format="npy")
    check(run.compute(), source, {}, keys)
    assert (run.left, run.compute().skipped) == (0, 2 * len(keys))
    listed = ks.read_images([source / key for key in keys], root=source)
    check(augmented(listed, 1).write(tmp_path / "listed", format="npy").compute(), source, {}, keys)


def test_any_name_on_disk_comes_out_of_the_bag(odd, augmented):
    source, keys = odd
    found = augmented(source, 1).compute()
    assert [(record.key, record.variant) for record in found] == [
        (key, variant) for key in sorted(keys) for variant in ("original", "hflip")
    ]
    assert all(record.pixels[0, 0, 0] == KEYS.index(record.key) for record in found)


@pytest.mark.parametrize("name", ["-rf.png", "new\nline.png", "a b.png", "[1].png"])
def test_any_name_can_be_said_on_the_command_line(odd, name, tmp_path):
    source, _ = odd
    (source / name).write_bytes(b"no image")
    ks.dump_recipe([ops.HorizontalFlip()], tmp_path / "r.yaml")
    words = ["augment", "-r", str(tmp_path / "r.yaml"), "--on-error", "raise", "--", name, str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "kaleidoscope", *words], cwd=source, capture_output=True, text=True, check=False
    )
    shown = name if name.isprintable() else repr(name)
    assert (done.returncode, done.stderr.splitlines()[0].startswith(f"kaleidoscope: {shown}: decode: ")) == (2, True)


def test_letters_that_a_target_takes_for_the_same_are_refused(augmented, monkeypatch, tmp_path):
    monkeypatch.setattr("kaleidoscope.writing.case_folds", lambda _: True)
    assert unicodedata.normalize("NFC", E_DECOMPOSED) == E_COMPOSED
    with pytest.raises(RecipeError, match="would have the same outputs"):
        augmented([(key, small(0)) for key in (E_COMPOSED, E_DECOMPOSED)], 1).write(tmp_path / "out").compute()


def test_a_folder_among_the_elements_of_a_bag_is_failed_rows_and_the_others_go_on(odd, augmented, tmp_path):
    import dask.bag as db

    source, _ = odd
    bag = db.from_sequence([f"{source}/a b.png", f"{source}/d [1]", f"{source}/50%.png"], npartitions=1)
    errors = [str(record.error) for record in augmented(bag, 1).compute() if record.error]
    assert len(errors) == 2
    assert all("/d [1]: read: cannot read" in f"/{e}" and "a folder stands where a file should" in e for e in errors)
    report = augmented(bag, 1).write(tmp_path / "out", format="npy").compute()
    assert (report.outputs, report.failed) == (4, 1)
    with pytest.raises(RecipeError, match=r"d \[1\] is a folder: read it on its own"):
        ks.read_images([source / "a b.png", source / "d [1]"])


# ------------------------------------------------------------------------------------ a bucket


@pytest.fixture(scope="module")
def bucket(s3):
    """The bucket of pictures with odd names."""
    fs = fsspec.filesystem("s3", use_listings_cache=False, **s3)
    for number, key in enumerate(KEYS):
        fs.pipe_file(f"photos/{key}", png(number))
    return ks.read_images("s3://photos/", storage_options=s3)


def test_any_name_in_a_bucket_is_written_and_found_there_again(bucket, s3, augmented):
    run = augmented(bucket, 1).write("s3://out/a b#1", format="npy")
    check(run.compute(), None, s3, KEYS)
    assert (run.left, run.compute().skipped) == (0, 2 * len(KEYS))


@pytest.mark.parametrize("url", ["s3://no-such-bucket", "s3://no-such-bucket/a/b/", "s3://photos/no/such/folder"])
def test_a_bucket_that_is_not_there_cannot_be_listed(s3, url):
    with pytest.raises(StoreError, match=rf"cannot list {url}.*there is nothing there.*bucket"):
        ks.read_images(url, storage_options=s3)


def test_a_bucket_without_images_says_what_was_looked_for(s3):
    with pytest.raises(StoreError, match=r"no images in s3://no-such-bucket/\*\.jpg: looked for files whose names fit"):
        ks.read_images("s3://no-such-bucket/*.jpg", storage_options=s3)


def test_objects_that_are_not_there_are_failed_rows(bucket, s3, augmented, tmp_path):
    urls = ["s3://photos/a b.png", "s3://photos/none.png", "s3://no-such-bucket/a.png", "s3://photos/d [1]"]
    listed = ks.read_images(urls, storage_options=s3)
    report = augmented(listed, 1).write(tmp_path / "out", storage_options={}).compute()
    assert (report.outputs, report.failed) == (2, 3)
    assert set(report.errors["step"]) == {"read"}
    assert report.errors["error"].str.contains("cannot read s3://.*: there is nothing there").all()
    errors = [record.error for record in augmented(listed, 1).compute()]
    assert [error is None for error in errors] == [True] * 2 + [False] * 6
    assert str(errors[2]).startswith("photos/none.png: read: cannot read s3://photos/none.png")


def test_a_target_bucket_that_is_not_there_is_said(bucket, augmented):
    with pytest.raises(
        StoreError, match=r"s3://no-such-bucket/out/.*the bucket or folder .* is not there.*make it, or"
    ):
        augmented(bucket, 1).write("s3://no-such-bucket/out").compute()


def test_on_the_command_line_a_bucket_that_is_not_there_is_one_line(s3, tmp_path, make_photos):
    ks.dump_recipe([ops.HorizontalFlip()], tmp_path / "r.yaml")
    make_photos(tmp_path / "photos", 1)
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": s3["key"],
        "AWS_SECRET_ACCESS_KEY": s3["secret"],
        "AWS_ENDPOINT_URL": s3["endpoint_url"],
    }
    for source, target in (("s3://no-such-bucket/", "out"), ("photos", "s3://no-such-bucket/out")):
        done = subprocess.run(
            [sys.executable, "-m", "kaleidoscope", "augment", source, target, "-r", "r.yaml"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("kaleidoscope: cannot ")
        assert len(done.stderr.splitlines()) == 1
        assert "no-such-bucket" in done.stderr
