import hashlib
import os
import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import cv2
import dask
import dask.bag as db
import dask.multiprocessing
import numpy as np
import psutil
import pytest
from distributed import get_worker
from PIL import Image

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.augmented import AugmentedBag
from kaleidoscope.bag import StreamingBag
from kaleidoscope.display import ContactSheet
from kaleidoscope.errors import DecodeError, KaleidoscopeError, OpError, RecipeError, StoreError
from kaleidoscope.record import ImageRecord
from kaleidoscope.writing import WriteRun

RECIPE = [ops.HorizontalFlip(), ops.Rotate(limit=15), ops.GaussNoise()]
VARIANTS = [
    "original",
    "hflip",
    "hflip-rotate",
    "hflip-rotate-noise",
    "hflip-noise",
    "rotate",
    "rotate-noise",
    "noise",
]
NAMES = ["a.png", "b.png", "sub/c.png", "sub/d.png", "sub/e.png"]


def pixels_of(seed, shape=(12, 16, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five small images of noise, so that any change of a pixel shows."""
    top = tmp_path_factory.mktemp("images")
    (top / "sub").mkdir()
    for i, name in enumerate(NAMES):
        cv2.imwrite(str(top / name), pixels_of(i)[..., ::-1])
    return top


@pytest.fixture
def views(folder):
    return ks.augment(ks.read_images(folder), RECIPE, seed=7)


@pytest.fixture
def broken(tmp_path):
    """A good image, one that is none, and one that is not there any more once it was listed."""
    cv2.imwrite(str(tmp_path / "a.png"), pixels_of(0))
    (tmp_path / "b.png").write_bytes(b"no image")
    cv2.imwrite(str(tmp_path / "c.png"), pixels_of(0))
    images = ks.read_images(tmp_path)
    (tmp_path / "c.png").unlink()
    return images


@pytest.fixture
def no_processes(monkeypatch):
    """Make the scheduler that dask.bag would choose fail, rather than start processes for each test."""

    def refuse(*_, **__):
        raise AssertionError("this went to the multiprocessing scheduler")

    monkeypatch.setattr(dask.multiprocessing, "ProcessPoolExecutor", refuse)


def same(left, right):
    """Whether two lists of records are the same variants, pixel for pixel."""
    return [(r.key, r.variant) for r in left] == [(r.key, r.variant) for r in right] and all(
        np.array_equal(a.pixels, b.pixels) and a.pixels.dtype == b.pixels.dtype
        for a, b in zip(left, right, strict=True)
    )


def files_in(folder):
    """Return every file of a target with a digest of its bytes, and its manifest's rows."""
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).rglob("*")
        if path.is_file() and "_kaleidoscope" not in path.parts
    }
    manifest = ks.read_manifest(folder).compute().drop(columns=["source", "source_size", "source_etag", "source_pages"])
    rows = manifest.sort_values(["key", "variant"]).astype(object).where(manifest.notna(), None)
    return files, rows.values.tolist()


# ------------------------------------------------------------------------------------ what goes in


class TestOrderAndContent:
    def test_is_dataset_order_then_tree_order(self, views):
        assert views.variants == VARIANTS
        records = views.compute()
        assert [(r.key, r.variant) for r in records] == [(key, v) for key in NAMES for v in VARIANTS]

    def test_original_is_the_image_and_flip_its_mirror(self, views):
        records = {(r.key, r.variant): r for r in views.compute()}
        for i, key in enumerate(NAMES):
            assert np.array_equal(records[key, "original"].pixels, pixels_of(i))
            assert np.array_equal(records[key, "hflip"].pixels, pixels_of(i)[:, ::-1])
            assert not np.array_equal(records[key, "noise"].pixels, pixels_of(i))

    def test_records_know_their_source_and_lineage(self, views, folder):
        record = next(r for r in views.compute() if r.variant == "hflip-rotate")
        assert record.source.url == str(folder / "a.png")
        assert [step.node for step in record.lineage] == ["hflip", "hflip-rotate"]
        assert record.metadata["format"].lower() == "png"
        assert record.error is None

    def test_records_do_not_share_pixels(self, views):
        records = views.compute(scheduler="sync")
        before = [record.pixels.copy() for record in records]
        records[0].pixels[:] = 0
        assert all(np.array_equal(r.pixels, b) for r, b in zip(records[1:], before[1:], strict=True))

    def test_another_seed_draws_otherwise_and_the_same_one_alike(self, folder):
        first, again, other = (ks.augment(folder, RECIPE, seed=seed) for seed in (7, 7, 8))
        assert first.name == again.name != other.name
        assert same(first.compute(), again.compute())
        assert not same(first.compute(), other.compute())

    def test_an_op_at_the_end_leaves_earlier_variants_alone(self, folder, views):
        longer = ks.augment(folder, [*RECIPE, ops.GaussianBlur()], seed=7).compute()
        assert same([r for r in longer if r.variant in VARIANTS], views.compute())

    def test_partitions_change_nothing(self, folder, views):
        for size in (1, 2, 5):
            assert same(
                ks.augment(ks.read_images(folder, partition_size=size), RECIPE, seed=7).compute(), views.compute()
            )

    def test_partitions_of_variants_are_cut_by_their_bytes(self, folder):
        assert ks.augment(folder, RECIPE).npartitions == 1
        size = max(path.stat().st_size for path in folder.rglob("*.png"))
        with dask.config.set({"kaleidoscope.partition-bytes": size * len(VARIANTS) * 2 * 2}):
            assert ks.augment(folder, RECIPE).npartitions == 3
        with dask.config.set({"kaleidoscope.partition-bytes": "1 B"}):
            assert ks.augment(folder, RECIPE).npartitions == len(NAMES)

    def test_partition_size_of_the_images_is_kept(self, folder):
        assert ks.augment(ks.read_images(folder, partition_size=2), RECIPE).npartitions == 3

    def test_repr_counts(self, views, folder):
        assert repr(views) == str(views) == "AugmentedBag<5 images x 8 variants, npartitions=1>"
        derived = ks.augment(ks.read_images(folder).filter(bool), RECIPE)
        assert repr(derived) == "AugmentedBag<images of a bag x 8 variants, npartitions=1>"

    def test_any_scheduler_and_unoptimized(self, views):
        expected = views.compute()
        for options in ({"scheduler": "sync"}, {"scheduler": "threads"}, {"optimize_graph": False}):
            assert same(views.compute(**options), expected)

    def test_one_op_and_combinators(self, folder):
        assert ks.augment(folder, ops.HorizontalFlip()).variants == ["hflip"]
        several = ks.augment(folder, ops.Sequential(ops.HorizontalFlip(), ops.Repeat(ops.Rotate(), 2)))
        assert len(several.variants) == 2
        assert len(several.compute()) == 10

    def test_no_op_at_all_is_the_images_themselves(self, folder):
        records = ks.augment(folder, []).compute()
        assert [r.variant for r in records] == ["original"] * 5
        assert all(np.array_equal(r.pixels, pixels_of(i)) for i, r in enumerate(records))


class TestDatasets:
    """Whatever images come as, they are the same variants; keys and so draws depend on how they are named."""

    def keys(self, dataset):
        return list(dict.fromkeys(record.key for record in ks.augment(dataset, [ops.HorizontalFlip()]).compute()))

    def test_folder_as_text_path_or_bag(self, folder, views):
        expected = views.compute()
        for dataset in (str(folder), folder, ks.read_images(folder), f"file://{folder}"):
            assert same(ks.augment(dataset, RECIPE, seed=7).compute(), expected)

    def test_glob(self, folder, views):
        found = ks.augment(f"{folder}/sub/*.png", RECIPE, seed=7)
        assert [r.key for r in found.compute()[:: len(VARIANTS)]] == ["c.png", "d.png", "e.png"]

    def test_one_file(self, folder):
        assert self.keys(folder / "sub/c.png") == ["c.png"]

    def test_list_of_urls_and_of_paths(self, folder):
        given = [folder / "sub/c.png", str(folder / "a.png")]
        assert self.keys(given) == [str(path).lstrip("/") for path in given]
        assert self.keys(path for path in given) == self.keys(tuple(given)) == self.keys(given)

    @pytest.mark.parametrize("partitions", [1, 3, 50])
    def test_bag_of_urls(self, folder, partitions):
        urls = [str(folder / name) for name in NAMES]
        bag = db.from_sequence(urls, npartitions=partitions)
        found = ks.augment(bag, RECIPE, seed=7)
        assert type(found) is AugmentedBag
        assert same(found.compute(), ks.augment(urls, RECIPE, seed=7).compute())

    @pytest.mark.usefixtures("no_processes")
    def test_of_dasks_bag_run_on_threads(self, folder):
        bag = db.from_sequence([str(folder / name) for name in NAMES], npartitions=2)
        found = ks.augment(bag, [ops.HorizontalFlip()])
        assert set(found.map(lambda _: os.getpid()).compute()) == {os.getpid()}
        assert len(found.compute()) == found.count().compute() == 10

    def test_filtered_images(self, folder, views):
        images = ks.read_images(folder, partition_size=2).filter(lambda r: r.key > "b")
        expected = [r for r in views.compute() if r.key > "b"]
        assert same(ks.augment(images, RECIPE, seed=7).compute(), expected)

    def test_records(self, folder, views):
        records = ks.read_images(folder).compute()
        expected = views.compute()
        assert same(ks.augment(records, RECIPE, seed=7).compute(), expected)
        assert same(ks.augment(db.from_sequence(records, npartitions=2), RECIPE, seed=7).compute(), expected)

    def test_key_array_pairs(self, views):
        pairs = [(name, pixels_of(i)) for i, name in enumerate(NAMES)]
        assert same(ks.augment(pairs, RECIPE, seed=7).compute(), views.compute())
        assert same(ks.augment(db.from_sequence(pairs, npartitions=3), RECIPE, seed=7).compute(), views.compute())

    def test_list_of_arrays(self):
        arrays = [pixels_of(0), pixels_of(1, (5, 7, 3)), pixels_of(2, (5, 7)), pixels_of(3, (5, 7, 4))]
        records = ks.augment(arrays, [ops.HorizontalFlip()]).compute()
        assert [r.key for r in records[::2]] == ["000000", "000001", "000002", "000003"]
        assert [r.pixels.shape for r in records[::2]] == [(12, 16, 3), (5, 7, 3), (5, 7, 1), (5, 7, 4)]
        assert np.array_equal(records[5].pixels[..., 0], arrays[2][:, ::-1])

    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
    def test_keeps_the_dtype(self, dtype):
        array = (pixels_of(0) / np.float32(255)).astype(dtype) if dtype == "float32" else pixels_of(0).astype(dtype)
        for record in ks.augment([array], RECIPE).compute():
            assert record.error is None
            assert record.pixels.dtype == dtype

    def test_one_array_of_four_dimensions(self):
        stack = np.stack([pixels_of(i) for i in range(3)])
        assert same(ks.augment(stack, RECIPE).compute(), ks.augment(list(stack), RECIPE).compute())

    def test_leaves_given_pixels_as_they_were(self):
        array = pixels_of(0)
        ks.augment([array], RECIPE).compute()
        assert np.array_equal(array, pixels_of(0))

    def test_grey_pair(self):
        (record,) = ks.augment([("grey", pixels_of(0, (4, 5)))], ops.HorizontalFlip()).compute()
        assert record.pixels.shape == (4, 5, 1)


class TestRefusals:
    @pytest.mark.parametrize(
        ("dataset", "message"),
        [
            (np.zeros((4, 5, 3), np.uint8), r"one array of shape \(4, 5, 3\)"),
            (np.zeros((4, 5), np.uint8), r"one array of shape \(4, 5\)"),
            ([], "got none"),
            ((), "got none"),
            (None, "expected images, got None"),
            (7, "expected images, got 7"),
            ([1, 2], "got int"),
            ([None], "got NoneType"),
            ([("key", "not an array")], "got tuple"),
            ([{"key": 1}], "got dict"),
        ],
        ids=str,
    )
    def test_what_is_no_dataset(self, dataset, message):
        with pytest.raises(RecipeError, match=message):
            ks.augment(dataset, RECIPE)

    def test_variants(self, views):
        with pytest.raises(RecipeError, match="variants already"):
            ks.augment(views, RECIPE)

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(StoreError, match="nothing there"):
            ks.augment(tmp_path / "nowhere", RECIPE)

    def test_same_key_twice(self, folder):
        with pytest.raises(RecipeError, match="two images have the key"):
            ks.augment([folder / "a.png", folder / "a.png"], RECIPE)

    def test_same_key_twice_in_memory(self):
        with pytest.raises(RecipeError, match="two images have the key 'k'"):
            ks.augment([("k", pixels_of(0)), ("k", pixels_of(1))], RECIPE)

    def test_same_key_twice_in_a_bag_when_it_is_written(self, tmp_path):
        bag = db.from_sequence([("k", pixels_of(0)), ("k", pixels_of(1))], npartitions=2)
        with pytest.raises(RecipeError, match="two images have the key 'k'"):
            ks.augment(bag, RECIPE).write(tmp_path).compute()

    @pytest.mark.parametrize("seed", [1.5, "7", None, True, 2**63, -(2**63) - 1, np.int64(3)], ids=repr)
    def test_what_is_no_seed(self, folder, seed):
        with pytest.raises(RecipeError, match="seed"):
            ks.augment(folder, RECIPE, seed=seed)

    @pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, -(2**63)])
    def test_but_not_a_seed_of_64_bits(self, folder, seed):
        assert len(ks.augment(folder, RECIPE, seed=seed).take(1)) == 1

    @pytest.mark.parametrize(
        ("option", "value"), [("on_error", "ignore"), ("on_error", None), ("device", "tpu"), ("device", None)]
    )
    def test_other_options(self, folder, option, value):
        with pytest.raises(RecipeError, match=option):
            ks.augment(folder, RECIPE, **{option: value})

    def test_write_options_without_a_target(self, folder):
        with pytest.raises(RecipeError, match=r"format, quality.*to=URL"):
            ks.augment(folder, RECIPE, format="png", quality=3)

    def test_an_unknown_write_option(self, folder, tmp_path):
        with pytest.raises((RecipeError, TypeError), match="fromat"):
            ks.augment(folder, RECIPE, tmp_path, fromat="png")

    @pytest.mark.parametrize("recipe", [[[ops.HorizontalFlip()]], "hflip", None, [1]], ids=repr)
    def test_what_is_no_recipe(self, folder, recipe):
        with pytest.raises(RecipeError):
            ks.augment(folder, recipe)

    def test_bag_of_arrays_without_keys(self):
        bag = db.from_sequence([pixels_of(0)])
        with pytest.raises(RecipeError, match="no keys"):
            ks.augment(bag, RECIPE).compute(scheduler="sync")


# ------------------------------------------------------------------------------------ what comes out


class TestCompute:
    def test_failures_are_records(self, broken):
        records = ks.augment(broken, [ops.HorizontalFlip()]).compute()
        assert [(r.key, r.variant) for r in records] == [
            (key, variant) for key in ("a.png", "b.png", "c.png") for variant in ("original", "hflip")
        ]
        assert [type(r.error) for r in records[::2]] == [type(None), DecodeError, StoreError]
        assert all((r.pixels is None) == (r.error is not None) for r in records)
        assert [(r.error.key, r.error.step) for r in records[2::2]] == [("b.png", "decode"), ("c.png", "read")]

    def test_on_error_raise(self, broken):
        with pytest.raises(DecodeError, match=r"b\.png") as caught:
            ks.augment(broken, [ops.HorizontalFlip()], on_error="raise").compute()
        assert (caught.value.key, caught.value.step) == ("b.png", "decode")

    def test_an_op_that_fails_costs_the_variants_below_it(self):
        five = [("five", pixels_of(0, (4, 4, 5)))]  # hue is defined for three channels
        recipe = [ops.HorizontalFlip(), ops.HueSaturationValue()]
        records = ks.augment(five, recipe).compute()
        assert [r.error is None for r in records] == [True, True, False, False]
        assert all(isinstance(r.error, OpError) and r.error.key == "five" for r in records if r.error)
        with pytest.raises(OpError, match="five"):
            ks.augment(five, recipe, on_error="raise").compute()

    @pytest.mark.parametrize(
        "wrong", [np.zeros((4, 5, 3), np.int32), np.zeros((0, 5, 3), np.uint8)], ids=["int32", "empty"]
    )
    def test_pixels_that_are_none_are_failures(self, wrong):
        records = ks.augment([("wrong", wrong), ("good", pixels_of(0))], [ops.HorizontalFlip()]).compute()
        assert [r.error is None for r in records] == [False, False, True, True]
        assert all(isinstance(r.error, KaleidoscopeError) and r.error.key == "wrong" for r in records[:2])

    def test_warns_before_it_fills_memory(self, views, monkeypatch):
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100))
        with pytest.warns(ResourceWarning, match=r"and 100 B are free.*\.write") as caught:
            views.compute()
        assert caught[0].filename == __file__

    def test_does_not_warn_of_a_sample_or_of_what_is_small(self, views, monkeypatch):
        need = sum(path.stat().st_size for path in Path(views.source.root).rglob("*.png")) * 2 * len(VARIANTS)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=need // 2))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            views.sample(1).compute()
            views.map(lambda record: record.key).compute()


class TestDerivedBags:
    @pytest.mark.parametrize(
        "derive",
        [
            lambda views: views.map(lambda r: r.key),
            lambda views: views.filter(bool),
            lambda views: views.map_partitions(list),
            lambda views: views.repartition(npartitions=3),
            lambda views: views.take(2, compute=False),
        ],
        ids=["map", "filter", "map_partitions", "repartition", "take"],
    )
    def test_are_plain_streaming_bags(self, views, derive):
        assert type(derive(views)) is StreamingBag

    @pytest.mark.usefixtures("no_processes")
    def test_run_here(self, views):
        assert set(views.map(lambda _: os.getpid()).compute()) == {os.getpid()}
        assert views.count().compute() == 40
        assert [len(part) for part in dask.compute(*views.to_delayed())] == [40]
        assert dict(views.map(lambda r: r.variant).frequencies().compute()) == dict.fromkeys(VARIANTS, 5)

    def test_two_consumers_both_get_everything(self, views):
        shapes = views.map(lambda r: r.pixels.shape)
        assert shapes.compute() == shapes.compute() == [(12, 16, 3)] * 40
        both = dask.compute(shapes, shapes.map(len), shapes.count(), shapes.max(), views.count())
        assert both == ([(12, 16, 3)] * 40, [3] * 40, 40, (12, 16, 3), 40)
        assert db.zip(views.map(lambda r: r.key), shapes).count().compute(scheduler="sync") == 40
        kept = shapes.persist()
        assert kept.compute() == kept.compute() == [(12, 16, 3)] * 40
        (part,) = shapes.to_delayed()
        assert [len(part.compute()), len(part.compute())] == [40, 40]

    def test_one_that_takes_them_twice_gets_everything_twice(self, views):
        assert views.map(lambda a, b: a is b, views).compute() == [True] * 40
        names = views.map(lambda r: r.variant)
        assert names.map(lambda a, b: a == b, b=names).compute() == [True] * 40
        assert names.product(names).count().compute() == 1600


@pytest.mark.parametrize("module", [pickle, cloudpickle], ids=lambda module: module.__name__)
class TestPickling:
    def test_augmented_bag(self, views, module, tmp_path):
        copy = pickle.loads(module.dumps(views))
        assert type(copy) is AugmentedBag
        assert (copy.name, repr(copy), copy.explain()) == (views.name, repr(views), views.explain())
        assert same(copy.compute(), views.compute())
        assert same(copy.sample(2).compute(), views.sample(2).compute())
        assert copy.write(tmp_path, format="npy").compute().outputs == 40

    def test_of_a_bag(self, folder, module):
        derived = ks.augment(ks.read_images(folder).filter(bool), RECIPE, seed=7)
        assert same(pickle.loads(module.dumps(derived)).compute(), derived.compute())

    def test_write_run(self, views, module, tmp_path):
        run = views.write(tmp_path / "out", format="npy")
        copy = pickle.loads(module.dumps(run))
        assert type(copy) is WriteRun
        assert repr(copy) == repr(run)
        assert copy.compute().outputs == 40
        assert run.left == 0

    def test_write_run_keeps_its_options(self, views, module, tmp_path):
        views.write(tmp_path, format="npy").compute()
        with dask.annotate(retries=3):
            run = views.write(tmp_path, format="png", overwrite=True)
        copy = pickle.loads(module.dumps(run))
        layers = copy.__dask_graph__().layers.values()
        assert [layer.annotations for layer in layers] == [{"retries": 3}]
        assert copy.compute().outputs == 40
        assert len(list(tmp_path.rglob("*.png"))) == 40

    def test_records(self, views, module):
        records = views.compute()
        assert same(pickle.loads(module.dumps(records)), records)


class TestPersist:
    def test_keeps_an_augmented_bag(self, views, tmp_path):
        kept = views.persist()
        assert type(kept) is AugmentedBag
        assert kept.explain() == views.explain()
        assert same(kept.compute(), views.compute())
        assert kept.write(tmp_path, format="npy").compute().outputs == 40
        (better,) = dask.optimize(views)
        assert type(better) is AugmentedBag
        assert same(better.compute(), views.compute())


class TestWrite:
    def decoded(self, folder):
        manifest = ks.read_manifest(folder).compute()
        return {
            (row.key, row.variant): np.load(folder / row.output) for row in manifest.itertuples() if row.status == "ok"
        }

    def sources(self, folder):
        """Return each way to give the same images under the same keys."""
        images = ks.read_images(folder)
        pairs = [(name, pixels_of(i)) for i, name in enumerate(NAMES)]
        records = [ImageRecord(key, pixels) for key, pixels in pairs]
        return {
            "folder": folder,
            "images": images,
            "images in partitions": ks.read_images(folder, partition_size=2),
            "filtered": images.filter(bool),
            "records": images.compute(),
            "pairs": pairs,
            "pixels": records,
            "bag of pixels in 1": db.from_sequence(records, npartitions=1),
            "bag of pixels in 3": db.from_sequence(records, npartitions=3),
            "bag of pairs in 5": db.from_sequence(pairs, npartitions=5),
            "map that loads": images.map(lambda r: (r.key, pixels_of(NAMES.index(r.key)))),
            "map in partitions": ks.read_images(folder, partition_size=2).map(
                lambda r: ImageRecord(r.key, pixels_of(NAMES.index(r.key)))
            ),
        }

    def test_of_every_source_is_the_same_and_equals_compute(self, folder, tmp_path):
        expected = None
        for i, (name, source) in enumerate(self.sources(folder).items()):
            found = ks.augment(source, RECIPE, seed=7)
            target = tmp_path / str(i)
            report = found.write(target, format="npy").compute()
            assert (report.inputs, report.outputs, report.failed) == (5, 40, 0), name
            files, rows = files_in(target)
            decoded = self.decoded(target)
            for record in found.compute():
                assert np.array_equal(decoded[record.key, record.variant], record.pixels), name
            assert len(decoded) == len(files) == 40, name
            expected = expected or (files, rows)
            assert (files, rows) == expected, name
            assert found.write(target, format="npy").left == 0, name

    def test_to_is_the_same_write(self, folder, tmp_path):
        run = ks.augment(folder, RECIPE, tmp_path / "a", seed=7, format="npy")
        assert type(run) is WriteRun
        assert repr(run) == f"WriteRun<{tmp_path / 'a'}>"
        assert not (tmp_path / "a").exists(), "nothing is written before it is computed"
        run.compute()
        ks.augment(folder, RECIPE, seed=7).write(tmp_path / "b", format="npy").compute()
        assert files_in(tmp_path / "a") == files_in(tmp_path / "b")

    @pytest.mark.usefixtures("no_processes")
    def test_of_dasks_bag_runs_here(self, tmp_path):
        bag = db.from_sequence([("a", pixels_of(0)), ("b", pixels_of(1))], npartitions=2)
        assert ks.augment(bag, RECIPE).write(tmp_path, format="npy").compute().outputs == 16

    def test_failures_are_rows_or_end_the_run(self, broken, tmp_path_factory):
        target = tmp_path_factory.mktemp("target")
        report = ks.augment(broken, [ops.HorizontalFlip()], target / "rows", format="npy").compute()
        assert (report.inputs, report.outputs, report.failed) == (3, 2, 2)
        to = {"to": target / "raise", "on_error": "raise", "format": "npy"}
        with pytest.raises(KaleidoscopeError, match=r"[bc]\.png"):
            ks.augment(broken, [ops.HorizontalFlip()], **to).compute()

    def test_into_the_source_is_refused(self, folder, views):
        for target in (folder, folder / "sub", f"{folder}/new/"):
            with pytest.raises(RecipeError, match="lies in, the source"):
                views.write(target)


class TestSample:
    def test_makes_as_many_of_each_image(self, views):
        drawn = views.sample(3)
        assert type(drawn) is AugmentedBag
        found = {}
        for record in drawn.compute():
            found.setdefault(record.key, []).append(record.variant)
        assert list(found) == NAMES
        assert all(len(set(variants)) == 3 for variants in found.values())
        assert all(sorted(v, key=VARIANTS.index) == v for v in found.values())
        assert len({tuple(variants) for variants in found.values()}) > 1, "each image draws for itself"

    def test_is_of_the_same_pixels(self, views):
        everything = {(r.key, r.variant): r.pixels for r in views.compute()}
        for record in views.sample(2).compute():
            assert np.array_equal(record.pixels, everything[record.key, record.variant])

    def test_more_include_fewer(self, views):
        drawn = [{(r.key, r.variant) for r in views.sample(n).compute()} for n in (1, 3, 5, 8)]
        assert drawn[0] < drawn[1] < drawn[2] < drawn[3]
        assert [len(names) for names in drawn] == [5, 15, 25, 40]

    def test_does_not_depend_on_partitions_or_other_images(self, folder, views):
        expected = views.sample(3).compute()
        for size in (1, 2):
            cut = ks.augment(ks.read_images(folder, partition_size=size), RECIPE, seed=7)
            assert same(cut.sample(3).compute(), expected)
        few = ks.augment(ks.read_images(folder).filter(lambda r: r.key > "b"), RECIPE, seed=7)
        assert same(few.sample(3).compute(), [r for r in expected if r.key > "b"])

    def test_of_another_seed_is_another(self, folder, views):
        other = ks.augment(folder, RECIPE, seed=8).sample(3)
        assert {(r.key, r.variant) for r in other.compute()} != {(r.key, r.variant) for r in views.sample(3).compute()}

    def test_of_more_than_there_are_is_everything(self, views):
        assert same(views.sample(99).compute(), views.compute())

    def test_can_be_written_and_extended(self, views, tmp_path):
        report = views.sample(3).write(tmp_path, format="npy").compute()
        assert report.outputs == 15
        assert views.sample(5).write(tmp_path, format="npy").left == 10
        assert views.write(tmp_path, format="npy").compute().outputs == 25
        assert len(ks.read_manifest(tmp_path)) == 40

    def test_repr_counts_the_sample(self, views):
        assert repr(views.sample(3)) == "AugmentedBag<5 images x 3 variants, npartitions=1>"

    @pytest.mark.parametrize("n", [0, -1, 1.5, True, "3", None], ids=repr)
    def test_refuses_what_is_no_number(self, views, n):
        with pytest.raises(RecipeError, match="sample"):
            views.sample(n)


class TestPreview:
    pytestmark = pytest.mark.usefixtures("no_processes")

    def test_shows_as_many_images_and_variants(self, views, tmp_path):
        sheet = views.preview(3, variants=4)
        assert type(sheet) is ContactSheet
        assert (sheet.images, sheet.variants) == (3, 12)
        with Image.open(sheet.save(tmp_path / "sheet.png")) as image:
            assert image.size == (sheet.width, sheet.height)

    def test_shows_what_there_is(self, views):
        assert (views.preview(99, variants=99).images, views.preview(99, variants=99).variants) == (5, 40)
        assert (views.preview(1, variants=1).images, views.preview(1, variants=1).variants) == (1, 1)

    def test_says_why_something_is_crossed_out(self, folder):
        dataset = ks.read_images(folder).with_targets(lambda key: {}[key])
        with pytest.warns(UserWarning, match=r"made: a\.png: labels: KeyError: 'a\.png', and 1 errors more"):
            sheet = ks.augment(dataset, RECIPE).preview(2, variants=2)
        assert [error.partition(":")[0] for error in sheet.errors] == ["a.png", "b.png"]

    def test_spreads_over_the_tree(self, views, monkeypatch):
        shown = {}

        def sheet(rows, **_):
            shown.update({key: [variant[0] for variant in variants] for key, variants in rows})
            return ContactSheet(b"", 1, 1, 1, 1)

        monkeypatch.setattr("kaleidoscope.augmented.contact_sheet", sheet)
        views.preview(2, variants=2)
        assert shown == {"a.png": ["original", "noise"], "b.png": ["original", "noise"]}

    @pytest.mark.parametrize("partitions", [1, 5])
    def test_of_bags(self, folder, partitions):
        urls = [str(folder / name) for name in NAMES]
        bag = db.from_sequence(urls, npartitions=partitions)
        sheet = ks.augment(bag, RECIPE).preview(3, variants=4)
        assert (sheet.images, sheet.variants) == (3, 12)

    def test_of_a_filtered_bag_and_of_arrays(self, folder):
        filtered = ks.read_images(folder, partition_size=1).filter(lambda r: r.key > "b")
        assert ks.augment(filtered, RECIPE).preview(2, variants=4).images == 2
        assert ks.augment([pixels_of(0), pixels_of(1, (5, 7))], RECIPE).preview(2).variants == 16

    def test_shows_failures(self, broken):
        with pytest.warns(UserWarning, match="some of it could not be made: "):
            assert ks.augment(broken, [ops.HorizontalFlip()]).preview(3).variants == 6

    def test_writes_nothing_and_leaves_the_bag_alone(self, folder, views, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
        views.preview(2)
        assert list(tmp_path.iterdir()) == []
        assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
        assert len(views.compute()) == 40

    @pytest.mark.parametrize(("n", "variants"), [(0, 8), (-1, 8), (4, 0), (4, -2), (1.5, 8), ("2", 8)], ids=repr)
    def test_refuses_what_is_no_number(self, views, n, variants):
        with pytest.raises(RecipeError):
            views.preview(n, variants=variants)


class TestWithoutImages:
    """What one asks before there is anything to read."""

    @pytest.fixture
    def missing(self, tmp_path):
        for name in ("a.png", "b.png"):
            (tmp_path / name).write_bytes(b"")
        images = ks.read_images(tmp_path)
        for path in tmp_path.iterdir():
            path.unlink()
        tmp_path.rmdir()
        return images

    def test_explain_and_variants_touch_no_image(self, missing):
        views = ks.augment(missing, RECIPE)
        assert views.variants == VARIANTS
        text = views.explain()
        assert "8 variants of each image" in text
        assert all(f" {name} " in text for name in VARIANTS[1:])

    def test_nor_of_a_bag(self):
        def fail(_):
            raise AssertionError("the bag was computed")

        bag = db.from_sequence(["a.png"]).map(fail)
        views = ks.augment(bag, RECIPE)
        assert views.variants == VARIANTS
        assert views.explain() == ks.augment([pixels_of(0)], RECIPE).explain()
        assert views.sample(2).variants


# ------------------------------------------------------------------------------------ on a client


@pytest.fixture(scope="module")
def client():
    with (
        ks.cluster.local(workers=2, threads_per_worker=1, processes=False, dashboard=False) as cluster,
        cluster.get_client() as client,
    ):
        yield client


class TestOnAClient:
    pytestmark = pytest.mark.usefixtures("client")

    def test_compute_goes_there_and_is_the_same(self, views):
        assert set(views.map(lambda _: get_worker().name).compute()) <= {"cpu-0", "cpu-1"}
        assert same(views.compute(), views.compute(scheduler="sync"))

    def test_client_and_dask_compute(self, views, client):
        expected = views.compute(scheduler="sync")
        assert same(client.compute(views).result(), expected)
        assert same(client.compute(views, sync=True), expected)
        records, count, other = dask.compute(views, views.count(), dask.delayed(sum)([1, 2]))
        assert same(records, expected)
        assert (count, other) == (40, 3)

    def test_persist_keeps_an_augmented_bag(self, views, client, tmp_path):
        for kept in (views.persist(), client.persist(views)):
            assert type(kept) is AugmentedBag
            assert kept.explain() == views.explain()
            assert kept.map(lambda r: r.variant).compute() == VARIANTS * 5
            assert same(kept.sample(1).compute(), views.sample(1).compute())
        assert kept.write(tmp_path, format="npy").compute().outputs == 40

    def test_write_is_the_same(self, views, tmp_path):
        views.write(tmp_path / "there", format="npy").compute()
        views.write(tmp_path / "here", format="npy").compute(scheduler="sync")
        assert files_in(tmp_path / "there") == files_in(tmp_path / "here")

    def test_write_of_carried_pixels_is_the_same(self, views, tmp_path):
        pairs = [(name, pixels_of(i)) for i, name in enumerate(NAMES)]
        carried = ks.augment(db.from_sequence(pairs, npartitions=3), RECIPE, seed=7)
        carried.write(tmp_path / "there", format="npy").compute()
        views.write(tmp_path / "here", format="npy").compute(scheduler="sync")
        assert files_in(tmp_path / "there") == files_in(tmp_path / "here")

    def test_preview_goes_there(self, views, folder):
        assert views.preview(2, variants=4).png == views.preview(2, variants=4).png
        derived = ks.augment(ks.read_images(folder).filter(bool), RECIPE, seed=7)
        assert derived.preview(2, variants=4).png == views.preview(2, variants=4).png

    def test_a_filtered_bag(self, folder):
        derived = ks.augment(ks.read_images(folder, partition_size=1).filter(lambda r: r.key > "b"), RECIPE)
        assert derived.count().compute() == 4 * len(VARIANTS)

    def test_failures_come_back(self, broken):
        records = ks.augment(broken, [ops.HorizontalFlip()]).compute()
        assert [r.error is None for r in records[::2]] == [True, False, False]
        with pytest.raises(DecodeError, match=r"b\.png") as caught:
            ks.augment(broken, [ops.HorizontalFlip()], on_error="raise").compute()
        assert caught.value.key == "b.png"
