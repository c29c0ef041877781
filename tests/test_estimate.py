import json
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from dask.bag import from_sequence

import kaleidoscope as ks
from kaleidoscope import estimate, ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.estimate import Prices, Sample, ToDo, predict, spread
from kaleidoscope.layouts import Layout
from kaleidoscope.storage import Store

SIX = [
    ops.HorizontalFlip(),
    ops.Rotate(limit=15),
    ops.HueSaturationValue(),
    ops.RandomBrightnessContrast(),
    ops.GaussianBlur(),
    ops.GaussNoise(),
]


@pytest.fixture
def photos(tmp_path):
    """A folder of ten photographs of different sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        rng = np.random.default_rng(number)
        smooth = cv2.GaussianBlur(rng.integers(0, 256, (100 + 20 * number, 160, 3), dtype=np.uint8), (0, 0), 2)
        cv2.imwrite(str(folder / f"{number}.jpg"), smooth)
    return folder


def test_counts_are_those_of_the_write_and_bytes_are_near(photos, tmp_path):
    views = ks.augment(photos, SIX, seed=7)
    said = views.estimate(tmp_path / "out", images=5)
    assert not (tmp_path / "out").exists(), "nothing is written"
    report = views.write(tmp_path / "out").compute()
    assert (said.inputs, said.outputs, said.skipped) == (10, report.outputs, 0) == (10, 640, 0)
    assert said.bytes == pytest.approx(report.bytes, rel=0.25)
    assert (said.requests, said.dollars, said.dollars_a_month) == ({}, 0, 0)
    assert said.measured == 5
    assert said.seconds > 0


def test_what_is_there_is_left_out(photos, tmp_path):
    ks.augment(photos, SIX[:2], to=tmp_path / "out").compute()
    cv2.imwrite(str(photos / "new.jpg"), np.zeros((20, 30, 3), np.uint8))
    said = ks.augment(photos, SIX[:2]).estimate(tmp_path / "out")
    assert (said.inputs, said.outputs, said.skipped) == (1, 4, 40)
    assert said.measured == 1


def test_nothing_left_is_nothing_to_measure(photos, tmp_path):
    ks.augment(photos, SIX[:1], to=tmp_path / "out").compute()
    said = ks.augment(photos, SIX[:1]).estimate(tmp_path / "out")
    assert (said.inputs, said.outputs, said.skipped, said.bytes, said.seconds, said.measured) == (0, 0, 20, 0, 0, 0)
    assert "20 are there already" in str(said)


def test_images_that_fail_are_told(photos, tmp_path):
    for number in range(5):
        (photos / f"{number}.jpg").write_bytes(b"no image")
    said = ks.augment(photos, SIX[:1]).estimate(tmp_path / "out", images=10)
    assert said.failing == 0.5
    assert "50% of the outputs" in str(said)
    assert said.bytes > 0


def test_of_many_variants_some_are_made(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "_VARIANTS", 10)
    views = ks.augment(photos, SIX)
    said = views.estimate(tmp_path / "out", images=2)
    assert said.outputs == 640
    assert said.seconds > 0


def test_arrays_and_labels_are_measured_too(tmp_path):
    arrays = {f"{i}.png": np.full((30, 40, 3), 20 * i, np.uint8) for i in range(6)}
    bag = from_sequence(arrays.items(), npartitions=3)
    said = ks.augment(bag, SIX[:2]).estimate(tmp_path / "out", images=6)
    assert (said.inputs, said.outputs, said.measured, said.failing) == (6, 24, 6, 0)


def test_masks_are_requests(photos, tmp_path):
    (tmp_path / "masks").mkdir()
    for path in photos.iterdir():
        mask = np.zeros(cv2.imread(str(path)).shape[:2], np.uint8)
        cv2.imwrite(str(tmp_path / "masks" / f"{path.stem}.png"), mask)
    dataset = ks.read_images(photos, labels=ks.labels.Masks(tmp_path / "masks"))
    said = ks.augment(dataset, SIX[:1]).estimate("memory://bucket/out")
    assert said.requests["write"] == 2 * 20 + 1 + 4


def test_it_runs_on_the_cluster_and_is_json(photos, tmp_path):
    with ks.cluster.local(workers=1, dashboard=False) as cluster, cluster.get_client():
        said = ks.augment(photos, SIX[:2]).estimate(tmp_path / "out", probe=True)
    assert said.threads >= 1
    assert 0 < said.latency < 1
    assert "<table" in said._repr_html_()


@pytest.mark.parametrize("images", [0, -1, 1.5, True, "3"], ids=repr)
def test_a_number_that_makes_no_sense_is_refused(photos, tmp_path, images):
    with pytest.raises(RecipeError, match=r"estimate\(images="):
        ks.augment(photos, SIX[:1]).estimate(tmp_path / "out", images=images)


class TestPrediction:
    """From a few images to all of them."""

    SAMPLES = (Sample(0.1, 1.0, 10, 1000, 0, 0), Sample(0.3, 3.0, 10, 3000, 0, 0))
    TODO = ToDo(inputs=100, outputs=1000, skipped=0, blocks=10, threads=2, from_store=True, writes_at_once=8)

    def test_means_are_multiplied(self):
        said = predict(Store("memory://bucket"), self.SAMPLES, self.TODO)
        assert said.seconds == pytest.approx((100 * 0.2 + 1000 * 0.2) / 2)
        assert said.bytes == 1000 * 200
        assert said.requests == {"write": 1014, "read": 100, "list": 1}

    @pytest.mark.parametrize(("size", "shards"), [(1000, 10), (2**24, 16)], ids=["by-block", "by-bytes"])
    def test_shards_are_fewer_requests(self, size, shards):
        todo = replace(self.TODO, layout=Layout("webdataset", "1 GiB"))
        said = predict(Store("memory://bucket"), [Sample(0.1, 1.0, 10, 10 * size, 0, 3)], todo)
        assert said.requests["write"] == shards + 10 + 4

    def test_dollars_are_those_of_the_table(self):
        prices = Prices(writes=5.0, reads=0.4, month=1e9, said="mine")
        said = predict(Store("memory://bucket"), self.SAMPLES, self.TODO, prices=prices)
        assert said.dollars == pytest.approx(1.015 * 5 + 0.1 * 0.4)
        assert said.dollars_a_month == pytest.approx(200_000)
        assert "mine" in str(said)

    def test_a_store_that_is_slow_to_answer_is_what_takes_the_time(self):
        fast, slow = (predict(Store("memory://bucket"), self.SAMPLES, self.TODO, latency) for latency in (0.001, 10.0))
        assert fast.seconds == pytest.approx(110 + (100 + 30) * 0.001 / 2)
        assert slow.seconds == pytest.approx(1000 * 10 / 16 + (100 + 30) * 10 / 2)


def test_spread_goes_from_the_smallest_to_the_largest():
    assert spread(range(10), [*range(10)], 3) == [0, 4, 9]
    assert spread([7], [None], 3) == [7]
    assert spread([], [], 3) == []


def test_command(photos, tmp_path):
    ks.dump_recipe(SIX[:2], tmp_path / "recipe.yaml")
    command = [
        sys.executable,
        "-m",
        "kaleidoscope",
        "estimate",
        photos,
        tmp_path / "out",
        "-r",
        tmp_path / "recipe.yaml",
    ]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["outputs"] == 40
    assert not (tmp_path / "out").exists()
