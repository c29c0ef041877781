import gzip
import json

import numpy as np
import pandas as pd
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.display import Counting
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.index import read_index
from kaleidoscope.sources import list_images

ODD = ["a b.jpg", "x+y,z.png", 'q"uote.jpg', "50%25.jpg", "日本/ü.jpg", "line\nbreak.png"]
WRITERS = {
    "a.parquet": lambda table, path: table.to_parquet(path),
    "a.csv": lambda table, path: table.to_csv(path, index=False),
    "a.csv.gz": lambda table, path: table.to_csv(path, index=False),
}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    """Return a function that writes a table as an index of each kind."""

    def written(table):
        WRITERS[request.param](pd.DataFrame(table), tmp_path / request.param)
        return tmp_path / request.param

    return written


def test_paths_lie_beside_the_index_and_are_keys_in_its_order(written, tmp_path):
    listing = read_index(written({"label": range(6), "key": ODD, "size": [1, 2, 3, 4, 5, 6], "etag": list("abcdef")}))
    assert [entry.key for entry in listing.entries] == ODD
    assert [entry.url for entry in listing.entries] == [f"{tmp_path}/{key}" for key in ODD]
    assert [(entry.size, entry.etag) for entry in listing.entries][:2] == [(1, "a"), (2, "b")]
    assert listing.root == str(tmp_path)


def test_paths_lie_in_the_root_that_is_given(written):
    listing = read_index(written({"path": ODD}), root="s3://bucket/raw/")
    assert [(entry.key, entry.url) for entry in listing.entries] == [(key, f"s3://bucket/raw/{key}") for key in ODD]
    assert {(entry.size, entry.etag) for entry in listing.entries} == {(None, "")}


def test_urls_are_keys_as_those_of_a_list_are(written):
    urls = ["s3://bucket/b.jpg", "/data/a.jpg", "memory://x/c.jpg"]
    index = written({"url": urls, "size": [1, None, 3]})
    listing = read_index(index)
    assert [(e.key, e.url) for e in listing.entries] == [(e.key, e.url) for e in list_images(urls[:2]).entries] + [
        ("x/c.jpg", "memory://x/c.jpg")
    ]
    assert [entry.size for entry in listing.entries] == [1, None, 3]
    with pytest.raises(RecipeError, match=r"s3://bucket/b\.jpg does not lie in the root s3://bucket/raw"):
        read_index(index, root="s3://bucket/raw/")
    below = read_index(written({"url": ["s3://bucket/raw/b.jpg", "s3://bucket/raw/c/a.jpg"]}), root="s3://bucket/raw")
    assert [entry.key for entry in below.entries] == ["b.jpg", "c/a.jpg"]


def test_the_column_may_be_said(written):
    index = written({"key": [1, 2], "file name": ["a.jpg", "b.jpg"]})
    assert read_index(index, key_column="file name").entries.keys.tolist() == ["a.jpg", "b.jpg"]
    with pytest.raises(RecipeError, match=r"no column 'file nam'\. Did you mean 'file name'\?"):
        read_index(index, key_column="file nam")


def test_what_makes_no_sense_is_refused_by_name(written, tmp_path):
    with pytest.raises(RecipeError, match=r"expected a column key, url, path, got file, size: say key_column="):
        read_index(written({"file": ["a.jpg"], "size": [1]}))
    with pytest.raises(RecipeError, match="row 1 of the index: expected an image's key, got"):
        read_index(written({"key": ["a.jpg", None, "b.jpg"]}))
    with pytest.raises(StoreError, match="there are no images in"):
        read_index(written({"key": pd.Series([], dtype=str)}))
    with pytest.raises(RecipeError, match=r"two images have the key 'a\.jpg'"):
        read_index(written({"key": ["a.jpg", "b.jpg", "a.jpg"]}))
    with pytest.raises(StoreError, match=r"cannot read .*/no\.csv: there is nothing there"):
        read_index(tmp_path / "no.csv")
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    with pytest.raises(StoreError, match=r"cannot read .*/broken\.parquet: ArrowInvalid"):
        read_index(tmp_path / "broken.parquet")


def test_a_folder_or_glob_of_parts_is_read_in_their_order(tmp_path):
    (tmp_path / "keys.parquet").mkdir()
    for number in range(3):
        table = pd.DataFrame({"key": [f"{number}{letter}.jpg" for letter in "ba"]})
        table.to_parquet(tmp_path / "keys.parquet" / f"part.{number}.parquet")
    keys = ["0b.jpg", "0a.jpg", "1b.jpg", "1a.jpg", "2b.jpg", "2a.jpg"]
    for url in ("keys.parquet", "keys.parquet/", "keys.parquet/part.*.parquet"):
        assert read_index(f"{tmp_path}/{url}", root=tmp_path).entries.keys.tolist() == keys


def inventory(folder, kind, rows):
    """Write what S3 Inventory writes of a bucket: a manifest, and its files."""
    said = {"sourceBucket": "raw", "destinationBucket": "arn:aws:s3:::lists", "version": "2016-11-30"}
    (folder / "daily" / "data").mkdir(parents=True)
    (folder / "daily" / "2026-11-21T01-00Z").mkdir()
    table = pd.DataFrame(rows)
    if kind == "CSV":
        from urllib.parse import quote_plus

        table["Key"] = table["Key"].map(quote_plus)
        lines = table.to_csv(header=False, index=False, quoting=1).encode()
        (folder / "daily" / "data" / "one.csv.gz").write_bytes(gzip.compress(lines))
        said |= {"fileFormat": "CSV", "fileSchema": ", ".join(table.columns)}
        files = ["one.csv.gz"]
    else:
        names = {"Bucket": "bucket", "Key": "key", "Size": "size", "ETag": "e_tag", "IsLatest": "is_latest"}
        table = table.rename(columns={**names, "IsDeleteMarker": "is_delete_marker"})
        halves = np.array_split(np.arange(len(table)), 2)
        for number, half in enumerate(halves):
            table.iloc[half].to_parquet(folder / "daily" / "data" / f"{number}.parquet")
        said |= {"fileFormat": "Parquet", "fileSchema": "message s3.inventory { required binary bucket (UTF8); }"}
        files = ["0.parquet", "1.parquet"]
    said["files"] = [{"key": f"raw/daily/data/{name}", "size": 1, "MD5checksum": "-"} for name in files]
    manifest = folder / "daily" / "2026-11-21T01-00Z" / "manifest.json"
    manifest.write_text(json.dumps(said))
    return manifest


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_an_inventory_gives_what_a_listing_of_its_bucket_would(kind, tmp_path):
    keys = ["b/a b+c%20.jpg", "a.jpg", "a.jpg", "gone.png", "notes.txt", "b/", ".hidden/a.jpg", "日本/ü.jpg"]
    latest = [True, False, True, True, True, True, True, True]
    deleted = [False, False, False, True, False, False, False, False]
    rows = {"Bucket": "raw", "Key": keys, "IsLatest": latest, "IsDeleteMarker": deleted, "Size": range(8), "ETag": "e"}
    manifest = inventory(tmp_path, kind, rows)
    listing = read_index(manifest, storage_options={"anon": True})
    assert [(entry.key, entry.url, entry.size) for entry in listing.entries] == [
        ("a.jpg", "s3://raw/a.jpg", 2),
        ("b/a b+c%20.jpg", "s3://raw/b/a b+c%20.jpg", 0),
        ("日本/ü.jpg", "s3://raw/日本/ü.jpg", 7),
    ]
    assert (listing.root, listing.storage_options) == ("s3://raw", {"anon": True})
    rows["Bucket"] = ["raw"] * 2 + ["cooked"] * 6
    (tmp_path / "other").mkdir()
    with pytest.raises(RecipeError, match="expected objects of one bucket, got s3://raw and s3://cooked"):
        read_index(inventory(tmp_path / "other", kind, {**rows, "IsLatest": True}))
    (tmp_path / "third").mkdir()
    del rows["Bucket"]
    with pytest.raises(RecipeError, match="expected an inventory with the column Bucket, got"):
        read_index(inventory(tmp_path / "third", kind, rows))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "expected a manifest of S3 Inventory, got none"),
        ('{"fileFormat": "CSV"}', "expected a manifest of S3 Inventory, got none"),
        (
            '{"fileFormat": "ORC", "fileSchema": "", "destinationBucket": "b", "files": []}',
            "expected an inventory in CSV or Parquet, got 'ORC'",
        ),
    ],
)
def test_another_manifest_is_none(tmp_path, content, said):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RecipeError, match=said):
        read_index(tmp_path / "manifest.json")


def test_read_images_knows_an_index_and_writes_as_from_the_folder(tmp_path):
    import cv2

    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        cv2.imwrite(str(photos / f"{number}.png"), np.full((4, 6, 3), 40 * number, np.uint8))
    pd.DataFrame({"key": [f"{number}.png" for number in range(5)]}).to_parquet(photos / "index.parquet")
    pd.DataFrame({"name": [f"{number}.png" for number in range(5)]}).to_csv(tmp_path / "list.txt", index=False)
    several = {
        "folder": ks.read_images(photos),
        "index": ks.read_images(photos / "index.parquet"),
        "column": ks.read_images(tmp_path / "list.txt", key_column="name", root=photos),
    }
    for name, dataset in several.items():
        report = ks.augment(dataset, [ops.GaussNoise()]).write(tmp_path / name, format="png").compute()
        assert (report.inputs, report.outputs, report.failed) == (5, 10, 0)
    made = {name: {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.png")} for name in several}
    assert made["folder"] == made["index"] == made["column"]
    with pytest.raises(RecipeError, match="key_column='name': expected one index with that column"):
        ks.read_images([photos / "0.png"], key_column="name")


def test_rows_are_told_of_as_they_come_and_shown_only_where_somebody_looks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("kaleidoscope.index._ROWS", 100)
    monkeypatch.setattr("kaleidoscope.display.progress._A_WHILE", -1.0)
    pd.DataFrame({"key": [f"{number}.jpg" for number in range(250)]}).to_parquet(tmp_path / "a.parquet")
    told = []
    read_index(tmp_path / "a.parquet", tell=told.append)
    assert told == [100, 100, 50]
    ks.read_images(tmp_path / "a.parquet")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with Counting("keys listed", enabled=True) as counting:
        counting.advance(1234)
    assert "1,234 keys listed" in capsys.readouterr().err
