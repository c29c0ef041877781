import json
import os
import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import dask
import numpy as np
import pytest
import yaml
from dask.base import tokenize

import kaleidoscope as ks
from kaleidoscope import ops, settings
from kaleidoscope.errors import DecodeError, RecipeError, StoreError
from kaleidoscope.flow import Bounds
from kaleidoscope.lease import Owner, take_lease
from kaleidoscope.settings import DEFAULTS, SETTINGS, value
from kaleidoscope.storage import Store

PIXELS = 24 * 32
PAGE = (Path(__file__).parents[1] / "docs" / "settings.md").read_text("utf-8")


@pytest.fixture
def photos(tmp_path):
    """A folder with one photograph of 24 by 32 pixels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    return folder


def set_to(**values):
    return dask.config.set({"kaleidoscope." + name.replace("_", "-"): given for name, given in values.items()})


class TestValues:
    def test_defaults(self):
        assert {name: value(name) for name in SETTINGS} == {
            "max-pixels": 2**28,
            "max-member-bytes": 2**30,
            "unpacked-bytes": 2**33,
            "partition-bytes": 128 * 2**20,
            "writes-at-once": 16,
            "write-bytes": 64 * 2**20,
            "reads-at-once": 8,
            "read-bytes": 64 * 2**20,
            "object-store": "auto",
            "store-tries": 8,
            "lease-expires-after": 120.0,
            "prices": None,
            "progress": None,
        }

    @pytest.mark.parametrize(
        ("name", "given", "used"),
        [
            ("max-pixels", 5, 5),
            ("max-pixels", None, None),
            ("partition-bytes", "1 MiB", 2**20),
            ("partition-bytes", 1000, 1000),
            ("max-member-bytes", "5 MiB", 5 * 2**20),
            ("unpacked-bytes", 1000, 1000),
            ("lease-expires-after", "5 minutes", 300.0),
            ("lease-expires-after", 30, 30.0),
            ("writes-at-once", 64, 64),
            ("write-bytes", "1 MiB", 2**20),
            ("reads-at-once", 1, 1),
            ("read-bytes", "1 kB", 1000),
            ("object-store", "fsspec", "fsspec"),
            ("store-tries", 1, 1),
            ("prices", "mine.toml", "mine.toml"),
            ("prices", None, None),
            ("progress", False, False),
            ("progress", None, None),
        ],
    )
    def test_are_what_was_set(self, name, given, used):
        with dask.config.set({f"kaleidoscope.{name}": given}):
            assert value(name) == used
            assert type(value(name)) is type(used)
        assert value(name) == DEFAULTS[name]

    def test_names_may_be_written_with_underscores(self):
        with dask.config.set({"kaleidoscope.max_pixels": 7}):
            assert value("max-pixels") == 7
        with dask.config.set(kaleidoscope={"max_pixels": 8}):
            assert value("max-pixels") == 8

    def test_an_empty_section_sets_nothing(self):
        with dask.config.set(kaleidoscope=None):
            assert value("max-pixels") == 2**28

    @pytest.mark.parametrize(
        ("name", "given"),
        [
            ("max-pixels", 0),
            ("max-pixels", True),
            ("max-pixels", "many"),
            ("max-pixels", 1e9),
            ("max-pixels", {"most": 5}),
            ("partition-bytes", "128 stone"),
            ("partition-bytes", "-5 MB"),
            ("partition-bytes", "1e400"),
            ("partition-bytes", True),
            ("partition-bytes", None),
            ("writes-at-once", 0),
            ("writes-at-once", "16"),
            ("lease-expires-after", "29 seconds"),
            ("lease-expires-after", ""),
            ("lease-expires-after", float("nan")),
            ("lease-expires-after", None),
            ("lease-expires-after", False),
            ("prices", 5),
            ("prices", ""),
            ("progress", "yes"),
            ("progress", 1),
        ],
    )
    def test_that_make_no_sense_are_named_with_what_was_expected(self, name, given):
        with set_to(**{name: given}), pytest.raises(RecipeError) as caught:
            value(name)
        assert f"the setting kaleidoscope.{name}: expected {SETTINGS[name].expected}, got {given!r}" in str(
            caught.value
        )

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("max-pixel", "Did you mean 'max-pixels'?"),
            ("decode.max-pixels", "Did you mean 'max-pixels'?"),
            ("zzz", "There are max-pixels, partition-bytes"),
        ],
    )
    def test_unknown_names_are_answered(self, name, hint):
        with dask.config.set({f"kaleidoscope.{name}": 5}), pytest.raises(RecipeError) as caught:
            value("progress")
        assert f"there is no setting kaleidoscope.{name}. {hint}" in str(caught.value)

    def test_names_and_values_are_expected_under_ours(self):
        with dask.config.set(kaleidoscope=5), pytest.raises(RecipeError, match="expected names and values under it"):
            value("progress")

    def test_of_others_are_none_of_our_business(self):
        with dask.config.set({"kaleidoscopes.max-pixel": 5}):
            assert value("max-pixels") == 2**28


def test_changed_has_what_differs_and_what_is_wrong():
    assert settings.changed() == {}
    with set_to(lease_expires_after="120 s", progress=False, partition_bytes="much", nonsense=1):
        assert settings.changed() == {"progress": False, "partition-bytes": "much", "nonsense": 1}


class TestWhereTheyComeFrom:
    READ = "from kaleidoscope.settings import *; import json; print(json.dumps({n: value(n) for n in SETTINGS}))"

    def read(self, **environment):
        done = subprocess.run(
            [sys.executable, "-c", self.READ],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def test_the_environment(self):
        found = self.read(
            DASK_KALEIDOSCOPE__MAX_PIXELS="None",
            DASK_KALEIDOSCOPE__LEASE_EXPIRES_AFTER="5 minutes",
            DASK_KALEIDOSCOPE__PROGRESS="False",
        )
        assert (found["max-pixels"], found["lease-expires-after"], found["progress"]) == (None, 300.0, False)

    def test_a_file(self, tmp_path):
        (tmp_path / "mine.yaml").write_text("kaleidoscope:\n  max-pixels: null\n  partition-bytes: 1 GiB\n")
        found = self.read(DASK_CONFIG=str(tmp_path))
        assert (found["max-pixels"], found["partition-bytes"]) == (None, 2**30)
        assert found["writes-at-once"] == 16

    def test_a_mistake_does_not_break_the_import(self):
        environment = {**os.environ, "DASK_KALEIDOSCOPE__NONSENSE": "1"}
        subprocess.run([sys.executable, "-c", "import kaleidoscope.augmented"], env=environment, check=True)


class TestTheLimitOfPixels:
    def test_belongs_to_the_bag_that_was_made_under_it(self, photos):
        with set_to(max_pixels=PIXELS - 1):
            views = ks.augment(photos, ops.HorizontalFlip())
        error = views.compute()[0].error
        assert isinstance(error, DecodeError)
        assert "raise the setting kaleidoscope.max-pixels" in str(error)
        assert ks.augment(photos, ops.HorizontalFlip()).compute()[0].error is None

    def test_travels_to_workers(self, photos, tmp_path):
        with set_to(max_pixels=PIXELS - 1):
            strict = ks.augment(photos, ops.HorizontalFlip())
        with ks.cluster.local(workers=1, dashboard=False) as cluster, cluster.get_client():
            assert [record.error is None for record in strict.compute()] == [False]
            assert strict.write(tmp_path / "out").compute().failed == 1
            assert [record.error is None for record in ks.augment(photos, ops.HorizontalFlip()).compute()] == [True]

    def test_holds_for_masks_of_the_images_that_were_listed_under_it(self, photos, tmp_path):
        (tmp_path / "masks").mkdir()
        cv2.imwrite(str(tmp_path / "masks" / "a.png"), np.zeros((24, 32), np.uint8))
        with set_to(max_pixels=PIXELS - 1):
            images = ks.read_images(photos, labels=ks.labels.Masks(tmp_path / "masks"))
        with ks.cluster.local(workers=1, dashboard=False) as cluster, cluster.get_client():
            error = ks.augment(images, ops.HorizontalFlip()).compute()[0].error
        assert (type(error), error.step) == (DecodeError, "labels")

    def test_raised_makes_what_had_failed_by_it(self, photos, tmp_path):
        with set_to(max_pixels=PIXELS - 1):
            assert ks.augment(photos, ops.HorizontalFlip(), tmp_path / "out").compute().failed == 1
        with set_to(max_pixels=PIXELS):
            report = ks.augment(photos, ops.HorizontalFlip(), tmp_path / "out").compute()
        assert (report.outputs, report.failed) == (1, 0)

    def test_is_no_part_of_ids_but_of_what_dask_calls_the_work(self, photos):
        with set_to(max_pixels=5):
            strict = ks.augment(photos, ops.HorizontalFlip())
        usual = ks.augment(photos, ops.HorizontalFlip())
        assert strict.job.leaf_ids == usual.job.leaf_ids
        assert strict.job.spec() == usual.job.spec()
        assert tokenize(strict.job) != tokenize(usual.job)
        assert strict.name != usual.name

    def test_holds_for_replay(self, photos, tmp_path):
        row = ks.augment(photos, ops.HorizontalFlip(), tmp_path / "out").compute().manifest.compute().iloc[0]
        with set_to(max_pixels=5), pytest.raises(DecodeError, match=r"kaleidoscope\.max-pixels"):
            ks.replay(row)


class TestTheLease:
    def test_says_how_long_its_holder_may_be_silent(self, tmp_path, monkeypatch):
        store = Store(tmp_path)
        with set_to(lease_expires_after="10 minutes"):
            slow = Owner.here("slow")
        assert pickle.loads(pickle.dumps(slow)).expires_after == 600.0
        monkeypatch.setattr(Owner, "is_dead", lambda owner: False)
        monkeypatch.setattr("time.time", lambda: 1000.0)
        take_lease(store, slow)
        monkeypatch.setattr("time.time", lambda: 1590.0)
        with pytest.raises(StoreError, match="this target is free 600 s after that"):
            take_lease(store, Owner.here("mine"))
        monkeypatch.setattr("time.time", lambda: 1610.0)
        assert take_lease(store, Owner.here("mine")).number == 2

    def test_of_a_version_that_did_not_say_so_has_the_default(self, tmp_path):
        store = Store(tmp_path)
        content = {"run_id": "old", "host": "far-away", "boot": "", "pid": 1, "born": 0.0}
        assert Owner(**content).expires_after == 120.0
        lease = {"owner": content, "state": "open", "renewed": 0.0}
        store.write("_kaleidoscope/lease-1.json", json.dumps(lease).encode())
        assert take_lease(store, Owner.here("mine")).number == 2


@pytest.mark.parametrize(
    ("way", "given", "used"),
    [
        ("WriteBehind", {"writes_at_once": 3, "write_bytes": "1 MiB"}, (3, 2**20)),
        ("ReadAhead", {"reads_at_once": 4, "read_bytes": "2 MiB"}, (4, 2**21)),
    ],
)
def test_bounds_of_what_is_on_its_way_travel_with_the_run(way, given, used, photos, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(f"kaleidoscope.blocks.{way}", lambda _, bounds: seen.append(bounds) or 1 / 0)
    with set_to(**given):
        write = ks.augment(photos, ops.HorizontalFlip(), tmp_path / "out")
        with pytest.raises(ZeroDivisionError):
            write.compute()
    assert seen == [Bounds(*used)]


def test_bounds_of_what_is_read_ahead_are_those_of_when_the_bag_was_made(photos):
    with set_to(reads_at_once=2, read_bytes=500):
        views = ks.augment(photos, ops.HorizontalFlip())
    assert views.augmentation.reads == Bounds(2, 500)


@pytest.mark.parametrize(
    ("setting", "asked", "shown"), [(True, None, True), (False, None, False), (True, False, False), (None, None, False)]
)
def test_progress_is_shown_as_set_unless_the_call_says_otherwise(setting, asked, shown, photos, tmp_path, capsys):
    with set_to(progress=setting):
        ks.augment(photos, ops.HorizontalFlip(), tmp_path / "out").compute(progress=asked)
    assert ("1/1" in capsys.readouterr().err) == shown


def test_a_mistake_stops_a_run_before_anything_is_read(tmp_path):
    with set_to(max_pixel=5), pytest.raises(RecipeError, match="Did you mean 'max-pixels'"):
        ks.augment([np.zeros((4, 4, 3), np.uint8)], ops.HorizontalFlip())


class TestThePage:
    """docs/settings.md says what is so."""

    def test_has_every_setting_as_it_is_defined(self):
        rows = re.findall(r"^\| `([a-z-]+)` \| `(.+?)` \| (.+) \|$", PAGE, re.MULTILINE)
        assert [(name, yaml.safe_load(default), meaning) for name, default, meaning in rows] == [
            (each.name, each.default, each.meaning) for each in SETTINGS.values()
        ]

    def blocks(self, language):
        return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    def test_sets_the_same_three_times(self, tmp_path):
        file, environment, code = self.blocks("yaml")[0], self.blocks("sh")[0], self.blocks("python")[0]
        (tmp_path / "kaleidoscope.yaml").write_text(file)
        variables = dict(line.split("=", 1) for line in shlex.split(environment))
        read = "from kaleidoscope.settings import *\nprint([value(name) for name in SETTINGS])"
        found = [
            subprocess.run(
                [sys.executable, "-c", f"{first}\n{read}"],
                env={**os.environ, **more},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for first, more in (("", {"DASK_CONFIG": str(tmp_path)}), ("", variables), (code, {}))
        ]
        set_there = {**DEFAULTS, "max-pixels": 1_000_000_000, "lease-expires-after": 600.0}
        assert found == [f"{list(set_there.values())}\n"] * 3

    def test_shows_how_logs_are_heard_here_and_on_workers(self):
        code = (
            self.blocks("python")[1]
            + "import kaleidoscope.log as log\nlog.tell(logging.getLogger('kaleidoscope.x'), 20, 'hear')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.endswith("INFO kaleidoscope.x hear\n")
        assert yaml.safe_load(self.blocks("yaml")[1]) == {"logging": {"kaleidoscope": "info"}}
