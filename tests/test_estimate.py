import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import dask
import numpy as np
import pytest
from dask.bag import from_sequence

import kaleidoscope as ks
from kaleidoscope import measuring, ops
from kaleidoscope.errors import RecipeError
from kaleidoscope.estimate import ToDo, predict
from kaleidoscope.layouts import Layout
from kaleidoscope.measuring import Answers, Sample, spread
from kaleidoscope.prices import Prices
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
    assert (said.requests, said.cost, said.cost_a_month, said.cost_from_outside) == ({}, 0, 0, 0)
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


def test_of_many_variants_some_are_made_and_what_an_image_takes_is_told_from_what_they_take(
    photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(measuring, "_VARIANTS", 10)
    monkeypatch.setattr(measuring, "_FIRST", 2)
    views = ks.augment(photos, SIX)
    said = views.estimate(tmp_path / "out", images=2)
    assert said.outputs == 640
    assert said.seconds > 0


def test_all_that_is_measured_was_done_once_before(photos, tmp_path, monkeypatch):
    """What a process loads and makes with its first image and its first manifest part is no part of later ones."""
    done, make, pack = [], measuring._Measuring.make, measuring.to_parquet
    monkeypatch.setattr(measuring._Measuring, "make", lambda self, one: (done.append(one[0].key), make(self, one))[1])
    monkeypatch.setattr(measuring, "to_parquet", lambda *given: (done.append("part"), pack(*given))[1])
    assert ks.augment(photos, SIX[:1]).write(tmp_path / "out").estimate(images=1).measured == 1
    first = done[0]
    assert done == [first, "part", first, "part"]


def test_measuring_ends_when_it_has_seen_enough(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "_LONG_ENOUGH", 0.0)
    few = ks.augment(photos, SIX[:2]).estimate(tmp_path / "out")
    assert few.measured == min(2 * few.threads, 10)
    assert ks.augment(photos, SIX[:2]).estimate(tmp_path / "out", images=7).measured == 7


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
    assert said.requests["put"] == 2 * 20 + 1 + 6


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

    SAMPLES = (
        Sample(images=1, variants=10, making=1.0, packing=0.1, opening=0, bytes=1000, failed=0, masks=0),
        Sample(images=1, variants=10, making=3.0, packing=0.3, opening=0, bytes=3000, failed=0, masks=0),
    )
    TODO = ToDo(
        inputs=100,
        outputs=1000,
        skipped=0,
        blocks=10,
        tasks=10,
        source_bytes=2 * 10**9,
        threads=2,
        processes=1,
        from_store=True,
    )
    STORE = Store("memory://bucket")
    PRICES = Prices("Store", "here", date(2026, 1, 2), "EUR", put=5.0, get=0.4, list=5.0, month=1e9, egress=0.25)

    def test_means_are_multiplied(self):
        said = predict(self.STORE, self.SAMPLES, self.TODO, self.PRICES)
        assert said.seconds == pytest.approx((1000 * 0.2 + 10 * 0.2) / 2)
        assert said.bytes == 1000 * 200
        looks = int(said.seconds)
        assert said.requests == {"put": 1016 + looks // 15, "get": 100 + 3 * 10 + 8 + looks, "list": 1 + 11}

    def test_what_an_image_takes_is_counted_once_for_each(self):
        samples = [replace(sample, opening=0.5) for sample in self.SAMPLES]
        said = predict(self.STORE, samples, self.TODO, self.PRICES)
        assert said.seconds == pytest.approx((100 * 0.5 + 1000 * 0.15 + 10 * 0.2) / 2)

    @pytest.mark.parametrize(("tasks", "threads", "rounds"), [(10, 4, 3), (3, 16, 1), (1, 2, 1)])
    def test_threads_for_which_no_task_is_left_do_not_help(self, tasks, threads, rounds):
        said = predict(self.STORE, self.SAMPLES, replace(self.TODO, tasks=tasks, threads=threads), self.PRICES)
        assert said.seconds == pytest.approx(202 * rounds / tasks)

    @pytest.mark.parametrize(("size", "shards"), [(1000, 10), (2**24, 16)], ids=["by-block", "by-bytes"])
    def test_shards_are_fewer_requests(self, size, shards):
        todo = replace(self.TODO, layout=Layout("webdataset", "1 GiB"))
        samples = [replace(self.SAMPLES[0], bytes=10 * size, masks=3, making=0.01)]
        assert predict(self.STORE, samples, todo, self.PRICES).requests["put"] == shards + 10 + 6

    def test_costs_are_those_of_the_table(self):
        fast = [replace(sample, making=0.0, packing=0.0) for sample in self.SAMPLES]
        said = predict(self.STORE, fast, self.TODO, self.PRICES)
        assert said.cost == pytest.approx(1.016 * 5 + 0.138 * 0.4 + 0.012 * 5)
        assert said.cost_a_month == pytest.approx(200_000)
        assert said.cost_from_outside == pytest.approx(0.5)
        assert "EUR for them, 200,000.00 a month to keep the outputs, 0.50 to read the inputs from outside" in str(said)
        assert "Store, here, EUR, 2026-01-02" in str(said)

    def test_a_store_that_is_slow_to_answer_is_what_takes_the_time(self):
        asked = 1000 + 4 * 10 + 100
        fast, slow = (
            predict(self.STORE, self.SAMPLES, self.TODO, self.PRICES, Answers(latency, each, 0.01))
            for latency, each in ((0.001, 0.001), (10.0, 10.0))
        )
        assert fast.seconds == pytest.approx((202 + asked * 0.01) / 2 + 5 * 4 * 0.001)
        assert slow.seconds == pytest.approx(asked * 10 + 5 * 4 * 10)
        assert (fast.latency, slow.latency) == (0.001, 10.0)

    def test_who_did_not_ask_the_store_is_told_so(self):
        assert "probe=True" in str(predict(self.STORE, self.SAMPLES, self.TODO, self.PRICES))
        assert "probe=True" not in str(
            predict(self.STORE, self.SAMPLES, self.TODO, self.PRICES, Answers(0.1, 0.01, 0.001))
        )


def test_spread_goes_from_the_smallest_to_the_largest_and_its_beginnings_are_spread():
    assert sorted(spread([*range(10)], 3)) == [0, 4, 9]
    assert spread([None], 3) == [0]
    assert spread([], 3) == []
    places = spread([*range(1000)], 64)
    for count in (4, 8, 16, 32):
        assert 400 < sum(places[:count]) / count < 600


class TestPrices:
    def test_of_the_package_are_dated_and_named(self):
        prices = Prices.read()
        assert (prices.store, prices.region, prices.currency) == ("Amazon S3 Standard", "us-east-1", "USD")
        assert prices.date.isoformat() in str(prices)
        assert (prices.put, prices.get, prices.month, prices.egress) == (0.005, 0.0004, 0.023, 0.09)

    def test_of_a_users_own_are_taken(self, photos, tmp_path):
        table = (Path(measuring.__file__).parent / "prices.toml").read_text()
        mine = tmp_path / "mine.toml"
        mine.write_text(
            table.replace("put = 0.005", "put = 7").replace('"USD"', '"EUR"').replace("2026-11-21", "2030-02-03")
        )
        views = ks.augment(photos, SIX[:1])
        said = views.estimate("memory://bucket/prices", images=1, prices=mine)
        assert said.cost == pytest.approx(
            (said.requests["put"] * 7 + said.requests["get"] * 0.0004 + said.requests["list"] * 0.005) / 1000
        )
        assert "Amazon S3 Standard, us-east-1, EUR, 2030-02-03" in str(said)
        with dask.config.set({"kaleidoscope.prices": str(mine)}):
            assert views.estimate("memory://bucket/prices", images=1).prices == said.prices == Prices.read(mine)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("put = 0.005", "", "expected a number of at least 0 for per_1000_requests.put, got None"),
            ("put = 0.005", "put = -1", "per_1000_requests.put, got -1"),
            ("put = 0.005", "put = true", "per_1000_requests.put, got True"),
            ("month = 0.023", "month = inf", "per_gb.month, got inf"),
            ("date = 2026-11-21", 'date = "today"', "expected a date such as 2026-11-21 for date, got 'today'"),
            ('currency = "USD"', "currency = 5", "expected a text for currency, got 5"),
            ("[per_gb]", "per_gb = 3\n[other]", "per_gb.month, got None"),
            ("date =", "date", "cannot read the prices"),
        ],
    )
    def test_that_make_no_sense_are_refused(self, tmp_path, old, new, message):
        table = (Path(measuring.__file__).parent / "prices.toml").read_text()
        assert old in table
        (tmp_path / "mine.toml").write_text(table.replace(old, new))
        with pytest.raises(RecipeError, match=re.escape(message)):
            Prices.read(tmp_path / "mine.toml")

    def test_that_are_not_there_are_refused(self, tmp_path):
        with pytest.raises(RecipeError, match=r"cannot read the prices in .*none.toml"):
            Prices.read(tmp_path / "none.toml")


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
