import json
import re
import zlib

import cv2
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import kaleidoscope as ks
from kaleidoscope import ops, tables
from kaleidoscope.errors import StoreError
from kaleidoscope.job import environment
from kaleidoscope.manifest import COLUMNS

RECIPE = [ops.HorizontalFlip(), ops.Rotate(limit=15)]
VARIANTS = ["original", "hflip", "hflip-rotate", "rotate"]
NAMES = [f"{i:02d}.png" for i in range(40)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Forty images, of which two cannot be read: a few blocks."""
    top = tmp_path_factory.mktemp("source")
    for i, name in enumerate(NAMES):
        cv2.imwrite(str(top / name), np.full((8, 10, 3), i, np.uint8))
    for name in NAMES[3], NAMES[30]:
        (top / name).write_bytes(b"no image")
    return top


@pytest.fixture(scope="module")
def target(source, tmp_path_factory):
    top = tmp_path_factory.mktemp("target")
    report = ks.augment(source, RECIPE, top, seed=5, format="png").compute()
    assert (report.inputs, report.outputs, report.failed) == (40, 152, 2)
    return top


@pytest.fixture(scope="module")
def frame(target):
    return ks.read_manifest(target).compute()


def test_has_one_row_for_each_key_and_variant_in_their_order(frame):
    assert list(zip(frame["key"], frame["variant"], strict=True)) == [(k, v) for k in NAMES for v in VARIANTS]


def test_columns_and_their_kinds(target, frame):
    lazy = ks.read_manifest(target)
    assert list(lazy.columns) == list(frame.columns) == list(COLUMNS)
    assert dict(lazy.dtypes) == dict(frame.dtypes)
    kinds = {"string": pd.StringDtype("pyarrow"), "int64": pd.Int64Dtype(), "int32": pd.Int32Dtype()}
    assert dict(frame.dtypes) == {name: kinds[kind] for name, kind in COLUMNS.items()}


def test_rows_tell_what_was_written(target, frame):
    good = frame[frame["status"] == "ok"]
    assert len(good) == 152
    for row in good.itertuples():
        data = (target / row.output).read_bytes()
        assert (row.bytes, row.checksum) == (len(data), zlib.crc32(data))
        assert cv2.imread(str(target / row.output), cv2.IMREAD_UNCHANGED).shape == (8, 10, 3)
        assert (row.width, row.height, row.channels, row.dtype, row.seed) == (10, 8, 3, "uint8", 5)
        nodes = [step["node"] for step in json.loads(row.params)]
        assert (nodes or ["original"])[-1] == row.variant
    assert good["recipe_id"].nunique() == 4
    assert set(good["environment"]) == {environment()}
    assert good["output"].is_unique
    assert good[["error", "step"]].isna().all(axis=None)


def test_rows_tell_what_failed(source, frame):
    failed = frame[frame["status"] == "failed"]
    assert set(failed["key"]) == {NAMES[3], NAMES[30]}
    assert len(failed) == 8
    assert set(failed["step"]) == {"decode"}
    assert failed["error"].str.startswith("DecodeError: ").all()
    assert failed[["output", "bytes", "checksum", "width", "dtype"]].isna().all(axis=None)


def test_rows_tell_the_source(source, frame):
    for row in frame.itertuples():
        path = source / row.key
        assert (row.source, row.source_size) == (str(path), path.stat().st_size)
        assert row.source_etag


def test_is_lazy(source, tmp_path):
    ks.augment(source, RECIPE, tmp_path, format="png").compute()
    lazy = ks.read_manifest(tmp_path)
    assert isinstance(lazy, dd.DataFrame)
    parts = list((tmp_path / "_kaleidoscope/manifest").iterdir())
    assert len(parts) > 2
    for part in parts:
        part.write_bytes(b"broken")
    assert list(ks.read_manifest(tmp_path).columns) == list(COLUMNS)
    with pytest.raises(Exception, match=r"(?i)parquet"):
        lazy.compute()


def test_takes_path_text_and_url(target, frame):
    for url in (target, str(target), f"{target}/", f"file://{target}"):
        pd.testing.assert_frame_equal(ks.read_manifest(url).compute(), frame)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_is_the_same_in_any_partitions(target, frame, monkeypatch, size):
    whole = ks.read_manifest(target).npartitions
    monkeypatch.setattr(tables, "PARTS_PER_PARTITION", size)
    cut = ks.read_manifest(target)
    assert cut.npartitions > whole == 1
    pd.testing.assert_frame_equal(cut.compute().reset_index(drop=True), frame)


def test_of_rows_for_one_output_the_newest_counts(source, tmp_path, monkeypatch):
    """Failed images that came right in a second run: their rows lie in other parts of the same blocks."""
    images = tmp_path / "images"
    images.mkdir()
    for name in NAMES[:20]:
        (images / name).write_bytes((source / name).read_bytes())
    ks.augment(images, RECIPE, tmp_path / "out", format="png").compute()
    cv2.imwrite(str(images / NAMES[3]), np.zeros((8, 10, 3), np.uint8))
    assert ks.augment(images, RECIPE, tmp_path / "out", format="png").compute().outputs == 4
    for size in (200, 1):
        monkeypatch.setattr(tables, "PARTS_PER_PARTITION", size)
        found = ks.read_manifest(tmp_path / "out").compute()
        assert set(found["status"]) == {"ok"}
        assert sorted(zip(found["key"], found["variant"], strict=True)) == sorted(
            (key, variant) for key in NAMES[:20] for variant in VARIANTS
        )


def test_can_be_asked_like_any_dask_frame(target):
    manifest = ks.read_manifest(target)
    assert len(manifest) == 160
    assert manifest[manifest["status"] == "ok"]["bytes"].sum().compute() > 0
    counts = manifest.groupby("variant")["key"].count().compute()
    assert dict(counts) == dict.fromkeys(VARIANTS, 40)


@pytest.mark.parametrize("given", ["empty", "missing", "other files"])
def test_refuses_a_folder_without_a_manifest(tmp_path, given):
    folder = tmp_path / "target"
    if given != "missing":
        folder.mkdir()
    if given == "other files":
        (folder / "a.png").write_bytes(b"")
    with pytest.raises(StoreError, match=re.escape(f"no manifest in {folder}")):
        ks.read_manifest(folder)


def test_of_a_run_that_committed_nothing_yet_is_empty(source, tmp_path):
    """Its record is there, its parts are not: as after a kill in the first second."""
    ks.augment(source, RECIPE, tmp_path, format="png").compute()
    for part in (tmp_path / "_kaleidoscope/manifest").iterdir():
        part.unlink()
    found = ks.read_manifest(tmp_path).compute()
    assert list(found.columns) == list(COLUMNS)
    assert len(found) == 0


def test_passes_other_files_beside_the_parts_by(source, tmp_path):
    ks.augment(source, RECIPE, tmp_path, format="png").compute()
    (tmp_path / "_kaleidoscope/manifest/notes.txt").write_text("not a part")
    assert len(ks.read_manifest(tmp_path)) == 160
