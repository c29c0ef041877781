import pickle

import cv2
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.report import Report

RECIPE = [ops.HorizontalFlip(), ops.HueSaturationValue()]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    top = tmp_path_factory.mktemp("source")
    for i in range(3):
        cv2.imwrite(str(top / f"{i}.png"), np.full((8, 10, 3), 80 * i, np.uint8))
    (top / "bad-1.png").write_bytes(b"no image")
    (top / "bad-2.png").write_bytes(b"")
    return top


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return tmp_path_factory.mktemp("target")


@pytest.fixture(scope="module")
def report(source, target):
    return ks.augment(source, RECIPE, target, format="npy").compute()


def made_up(**given):
    about = {"url": "/data/out", "inputs": 6, "outputs": 384, "skipped": 0, "failed": 0, "bytes": 10**7}
    return Report(**{**about, "seconds": 2.0, "counts": {}, **given})


class TestOfARun:
    def test_counts_what_it_did(self, report, target):
        assert (report.inputs, report.outputs, report.skipped, report.failed) == (5, 12, 0, 2)
        files = [path for path in target.rglob("*.npy") if "_kaleidoscope" not in path.parts]
        assert len(files) == 12
        assert report.bytes == sum(path.stat().st_size for path in files)
        assert report.seconds > 0
        assert report.url == str(target)

    def test_counts_what_it_took(self, report):
        assert {name: report.counts[name] for name in ("decode", "kernel", "permutation", "encode")} == {
            "decode": 3,
            "kernel": 6,
            "permutation": 3,
            "encode": 12,
        }

    def test_of_a_second_run_counts_what_was_there(self, report, source, target):
        again = ks.augment(source, RECIPE, target, format="npy").compute()
        assert (again.inputs, again.outputs, again.skipped, again.failed) == (5, 0, 12, 2)
        assert again.bytes == 0
        pd.testing.assert_frame_equal(again.errors, report.errors)

    def test_errors_are_a_frame_of_key_step_and_error(self, report):
        errors = report.errors
        assert type(errors) is pd.DataFrame
        assert list(errors.columns) == ["key", "step", "error", "variants"]
        assert errors["key"].tolist() == ["bad-1.png", "bad-2.png"]
        assert errors["step"].tolist() == ["decode", "decode"]
        assert errors["variants"].tolist() == [4, 4]
        assert errors["error"].str.startswith("DecodeError").all()

    def test_errors_of_an_op_are_told_by_step(self, tmp_path):
        five = [("five", np.zeros((4, 4, 5), np.uint8))]
        errors = ks.augment(five, RECIPE, tmp_path, format="npy").compute().errors
        assert errors["key"].tolist() == ["five"] * 2
        assert errors["step"].nunique() == 2
        assert errors["variants"].tolist() == [1, 1]

    def test_errors_of_a_clean_run_are_an_empty_frame(self, tmp_path):
        errors = ks.augment([np.zeros((4, 4, 3), np.uint8)], RECIPE, tmp_path, format="npy").compute().errors
        assert list(errors.columns) == ["key", "step", "error", "variants"]
        assert len(errors) == 0

    def test_manifest_is_a_lazy_frame_of_every_output(self, report):
        manifest = report.manifest
        assert isinstance(manifest, dd.DataFrame)
        assert len(manifest) == 20
        pd.testing.assert_frame_equal(manifest.compute(), ks.read_manifest(report.url).compute())

    def test_survives_pickling(self, report):
        copy = pickle.loads(pickle.dumps(report))
        assert copy == report
        assert len(copy.errors) == 2


class TestText:
    def test_reads_as_a_table(self, report):
        lines = dict(line.split(maxsplit=1) for line in str(report).splitlines())
        assert list(lines) == ["inputs", "outputs", "skipped", "failed", "bytes", "seconds", "target"]
        assert lines["inputs"] == "5"
        assert lines["outputs"].startswith("12 (")
        assert lines["failed"] == "2 inputs, see .errors"
        assert lines["target"] == report.url

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({}, "outputs  384 (192 a second)"),
            ({"outputs": 1234567, "seconds": 10.0}, "outputs  1,234,567 (123,457 a second)"),
            ({"outputs": 0}, "outputs  0"),
            ({"seconds": 0.0}, "outputs  384"),
            ({"skipped": 1280}, "skipped  1,280 were there already"),
            ({"skipped": 0}, "skipped  0"),
            ({"failed": 1}, "failed  1 input, see .errors"),
            ({"failed": 0}, "failed  0"),
            ({"bytes": 3 * 2**20}, "bytes  3.00 MiB"),
            ({"seconds": 61.26}, "seconds  61.3"),
            ({"url": "s3://b/out"}, "target  s3://b/out"),
        ],
        ids=str,
    )
    def test_of_each_figure(self, given, expected):
        assert expected in [line.strip() for line in str(made_up(**given)).splitlines()]

    def test_html_says_the_same_and_escapes(self):
        report = made_up(url="s3://b/<out>&", failed=2)
        page = report._repr_html_()
        assert page.startswith("<table")
        assert "s3://b/&lt;out&gt;&amp;" in page
        assert "<out>" not in page
        for line in str(report).splitlines()[:-1]:
            name, value = line.split(maxsplit=1)
            assert f">{name}</th>" in page
            assert f">{value.strip()}</td>" in page

    def test_repr_hides_counts_and_options(self):
        text = repr(made_up(counts={"decode": 3}, storage_options={"secret": "hunter2"}))
        assert "hunter2" not in text
        assert "decode" not in text
        assert "outputs=384" in text
