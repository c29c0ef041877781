import operator
import os
import pickle

import cloudpickle
import cv2
import dask
import dask.bag as db
import dask.multiprocessing
import numpy as np
import pytest
from dask.bag.core import Item
from dask.delayed import Delayed

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.bag import ImageBag, StreamingBag
from kaleidoscope.errors import RecipeError, StoreError

NAMES = ["a.png", "b.png", "sub/c.png", "sub/d.png", "sub/deep/e.png"]
SECRET = "hunter2-hunter2"  # noqa: S105 - what must not be seen


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five small images, some in folders."""
    top = tmp_path_factory.mktemp("images")
    for i, name in enumerate(NAMES):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(top / name), np.full((12, 16, 3), 20 * i, np.uint8))
    return top


@pytest.fixture
def bag(folder):
    return ks.read_images(folder, partition_size=2)


@pytest.fixture
def no_processes(monkeypatch):
    """Make the scheduler that dask.bag would choose fail, rather than start processes for each test."""

    def refuse(*_, **__):
        raise AssertionError("this went to the multiprocessing scheduler")

    monkeypatch.setattr(dask.multiprocessing, "ProcessPoolExecutor", refuse)


def key_of(record):
    return record.key


def pid_of(_):
    return os.getpid()


def pid_of_all(items):
    list(items)
    return os.getpid()


class TestReadImages:
    def test_lists_in_order_and_reads_nothing(self, bag, folder):
        records = bag.compute()
        assert [record.key for record in records] == NAMES
        assert all(record.pixels is None for record in records)
        assert [record.source.url for record in records] == [str(folder / name) for name in NAMES]
        assert [record.source.size for record in records] == [(folder / n).stat().st_size for n in NAMES]

    def test_opens_no_image(self, tmp_path):
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / name).write_bytes(b"no image at all")
        bag = ks.read_images(tmp_path)
        for path in tmp_path.iterdir():
            path.unlink()
        assert bag.count().compute() == 2
        assert [record.key for record in bag.take(1)] == ["a.jpg"]

    def test_shows_how_many_and_where(self, bag, folder):
        assert repr(bag) == str(bag) == f"ImageBag<5 images in {folder}, npartitions=3>"

    def test_of_a_list_shows_no_root(self, folder):
        assert repr(ks.read_images([folder / "a.png"])) == "ImageBag<1 images, npartitions=1>"

    @pytest.mark.parametrize(("size", "partitions"), [(1, 5), (2, 3), (5, 1), (None, 1)])
    def test_partition_size_is_images_in_a_partition(self, folder, size, partitions):
        bag = ks.read_images(folder, partition_size=size)
        assert bag.npartitions == partitions
        assert bag.map_partitions(lambda part: [len(list(part))]).max().compute() == (size or 5)
        assert bag.map(key_of).compute() == NAMES

    @pytest.mark.parametrize("size", [0, -1, 1.5, True, "2"], ids=repr)
    def test_refuses_a_partition_size_that_is_no_count(self, folder, size):
        with pytest.raises(RecipeError, match="partition_size"):
            ks.read_images(folder, partition_size=size)

    def test_refuses_an_empty_folder(self, tmp_path):
        with pytest.raises(StoreError, match="no images"):
            ks.read_images(tmp_path)

    def test_same_listing_has_the_same_name_and_another_another(self, folder):
        assert ks.read_images(folder).name == ks.read_images(folder).name
        assert ks.read_images(folder).name != ks.read_images(folder / "sub").name


# What a Dask user does with a bag: each is done with ours and with Dask's own bag of the same keys.
VALUES = {
    "map": lambda b: b.map(str.upper),
    "starmap": lambda b: b.map(lambda k: (k, "!")).starmap(operator.add),
    "filter": lambda b: b.filter(lambda k: k > "b"),
    "remove": lambda b: b.remove(lambda k: k > "b"),
    "map_partitions": lambda b: b.map_partitions(sorted, reverse=True),
    "pluck": lambda b: b.pluck(0),
    "str": lambda b: b.str.split("/"),
    "flatten": lambda b: b.flatten(),
    "unzip": lambda b: b.map(lambda k: (k, len(k))).unzip(2)[1],
    "count": lambda b: b.count(),
    "count-split": lambda b: b.count(split_every=2),
    "sum": lambda b: b.map(len).sum(),
    "mean": lambda b: b.map(len).mean(),
    "std": lambda b: b.map(len).std(),
    "max": lambda b: b.max(),
    "any": lambda b: b.any(),
    "fold": lambda b: b.fold(operator.add, initial=""),
    "reduction": lambda b: b.reduction(max, max),
    "reduction to a bag": lambda b: b.reduction(sorted, lambda parts: sorted(sum(parts, [])), out_type=db.Bag),  # noqa: RUF017
    "frequencies": lambda b: b.map(len).frequencies(sort=True),
    "distinct": lambda b: b.map(lambda k: k[:3]).distinct().map(str.upper),
    "topk": lambda b: b.topk(2),
    "foldby": lambda b: b.foldby(len, operator.add, ""),
    "groupby": lambda b: b.groupby(len, shuffle="tasks").map(lambda kv: (kv[0], sorted(kv[1]))),
    "accumulate": lambda b: b.map(len).accumulate(operator.add),
    "product": lambda b: b.product(b),
    "join": lambda b: b.join(["a.png"], lambda k: k),
    "zip": lambda b: db.zip(b, b.map(len)),
    "concat": lambda b: db.concat([b, b.map(str.upper)]),
    "map two": lambda b: b.map(operator.add, b.map(str.upper)),
    "map with an item": lambda b: b.map(lambda k, n: (k, n), b.count()),
    "repartition to fewer": lambda b: b.repartition(npartitions=1),
    "repartition to more": lambda b: b.repartition(npartitions=5),
    "repartition by size": lambda b: b.repartition(partition_size="100B"),
    "item.apply": lambda b: b.count().apply(lambda n: n + 1),
    "to_dataframe": lambda b: b.map(lambda k: {"key": k}).to_dataframe(meta={"key": str})["key"].count(),
    "delayed": dask.delayed(sorted),
}
# Results that Dask's own functions make out of bags, which no bag of ours has a say in.
DASKS_OWN = {"zip", "concat"}


@pytest.mark.parametrize("name", VALUES)
def test_gives_what_dasks_bag_gives(bag, name):
    do = VALUES[name]
    plain = do(db.from_sequence(NAMES, partition_size=2)).compute(scheduler="sync")
    assert do(bag.map(key_of)).compute(scheduler="sync") == plain


@pytest.mark.parametrize("size", [2, 5], ids="images in a partition: {}".format)
def test_taken_twice_by_one_step_is_all_there_twice(folder, size):
    # Dask's own bag fails this: it fuses the step with what it takes, and streams that into both arguments.
    keys = ks.read_images(folder, partition_size=size).map(key_of)
    assert keys.map(lambda a, b: (a, b), keys).compute() == [(name, name) for name in NAMES]
    assert keys.map(lambda a, b: (a, b), b=keys).compute() == [(name, name) for name in NAMES]
    assert len(keys.product(keys).compute()) == 25


@pytest.mark.parametrize("name", [name for name in VALUES if name not in DASKS_OWN])
@pytest.mark.usefixtures("no_processes")
def test_runs_on_threads(bag, name):
    derived = VALUES[name](bag.map(key_of))
    derived.compute()
    if isinstance(derived, db.Bag):
        assert set(derived.map(pid_of).compute()) == {os.getpid()}
        assert derived.map(pid_of).count().compute() > 0
    if isinstance(derived, Item):
        assert derived.apply(pid_of).compute() == os.getpid()


class TestRunsHere:
    """Whatever one does with a bag, it runs in this process."""

    pytestmark = pytest.mark.usefixtures("no_processes")

    def test_bag_itself(self, bag):
        assert len(bag.compute()) == 5
        assert set(bag.map(pid_of).compute()) == {os.getpid()}

    def test_items(self, bag):
        assert bag.reduction(pid_of_all, pid_of_all).compute() == os.getpid()

    def test_delayed(self, bag):
        parts = bag.map(pid_of).to_delayed()
        assert [type(part) for part in parts] == [Delayed] * 3
        assert dask.compute(*parts) == ([os.getpid()] * 2, [os.getpid()] * 2, [os.getpid()])
        item = bag.map(pid_of).max().to_delayed()
        assert item.compute() == os.getpid()

    def test_take_and_iteration(self, bag):
        assert bag.map(pid_of).take(3, npartitions=2) == (os.getpid(),) * 3
        assert set(bag.map(pid_of)) == {os.getpid()}

    def test_persist(self, bag):
        assert set(bag.map(pid_of).persist().compute()) == {os.getpid()}

    def test_together_with_another(self, bag):
        pids, count = dask.compute(bag.map(pid_of), bag.count())
        assert set(pids) == {os.getpid()}
        assert count == 5

    def test_but_the_caller_may_choose_the_scheduler(self, bag):
        seen = []
        with dask.config.set(scheduler=lambda dsk, keys, **_: seen.append(keys) or dask.get(dsk, keys)):
            assert bag.count().compute() == 5
        assert seen


class TestTake:
    def test_is_of_the_first_partition_and_warns_of_too_few(self, bag):
        assert [record.key for record in bag.take(1)] == NAMES[:1]
        with pytest.warns(UserWarning, match="Insufficient elements"):
            assert [record.key for record in bag.take(4)] == NAMES[:2]
        assert len(bag.take(4, warn=False)) == 2

    def test_goes_over_partitions_when_told(self, bag):
        assert [record.key for record in bag.take(4, npartitions=-1)] == NAMES[:4]

    def test_can_be_lazy(self, bag):
        taken = bag.take(2, compute=False)
        assert type(taken) is StreamingBag
        assert taken.map(key_of).compute() == NAMES[:2]


class TestRandomSample:
    def test_is_part_of_the_bag_and_repeatable(self, bag):
        drawn = bag.map(key_of).random_sample(0.5, random_state=3)
        assert drawn.compute() == drawn.compute() == bag.map(key_of).random_sample(0.5, 3).compute()
        assert 0 < len(drawn.compute()) < 5
        assert set(drawn.compute()) <= set(NAMES)


class TestWhatIsDerived:
    @pytest.mark.parametrize(
        "name",
        [
            "map",
            "filter",
            "flatten",
            "repartition to fewer",
            "repartition to more",
            "distinct",
            "frequencies",
            "accumulate",
        ],
    )
    def test_is_a_plain_streaming_bag(self, bag, name):
        assert type(VALUES[name](bag.map(key_of))) is StreamingBag

    def test_does_not_pose_as_an_image_bag(self, bag):
        assert "ImageBag" not in repr(bag.filter(bool))
        assert "npartitions=3" in repr(bag.filter(bool))

    def test_leaves_the_listing_to_the_image_bag(self, bag):
        assert type(bag) is ImageBag
        assert not hasattr(bag.filter(bool), "listing")


@pytest.mark.parametrize("module", [pickle, cloudpickle], ids=lambda module: module.__name__)
class TestPickling:
    def test_image_bag(self, bag, module):
        copy = pickle.loads(module.dumps(bag))
        assert type(copy) is ImageBag
        assert (copy.name, copy.listing, copy.partition_size) == (bag.name, bag.listing, 2)
        assert copy.map(key_of).compute() == NAMES

    def test_derived_bag(self, bag, module):
        copy = pickle.loads(module.dumps(bag.filter(bool)))
        assert type(copy) is StreamingBag
        assert len(copy.compute()) == 5

    @pytest.mark.usefixtures("no_processes")
    def test_item(self, bag, module):
        assert pickle.loads(module.dumps(bag.count())).compute() == 5


class TestPersist:
    def test_keeps_an_image_bag_with_its_listing(self, bag):
        kept = bag.persist()
        assert type(kept) is ImageBag
        assert kept.listing == bag.listing
        assert kept.map(key_of).compute() == NAMES
        assert ks.augment(kept, [ops.HorizontalFlip()]).count().compute() == 10

    @pytest.mark.usefixtures("no_processes")
    def test_keeps_items_on_threads(self, bag):
        assert bag.map(pid_of).max().persist().compute() == os.getpid()

    @pytest.mark.usefixtures("no_processes")
    def test_optimize_keeps_an_image_bag(self, bag):
        (better,) = dask.optimize(bag)
        assert type(better) is ImageBag
        assert better.map(key_of).compute() == NAMES


class TestCredentials:
    @pytest.fixture
    def written(self, folder, tmp_path):
        """Bags, a write and its report, of a dataset that is opened with a password."""
        import fsspec

        fs = fsspec.filesystem("memory", secret=SECRET)
        for name in NAMES[:2]:
            fs.pipe_file(f"/vault/{name}", (folder / name).read_bytes())
        bag = ks.read_images("memory://vault", storage_options={"secret": SECRET})
        views = ks.augment(bag, [ops.HorizontalFlip()])
        to = ks.augment(bag, [ops.HorizontalFlip()]).write("memory://vault-out", format="npy")
        derived = ks.augment(bag.filter(bool), [ops.HorizontalFlip()])
        collections = [bag, views, to, derived, derived.write(tmp_path / "derived"), views.map(key_of)]
        collections += [views.count(), views.sample(1)]
        yield collections, to.compute()
        fs.rm("/vault", recursive=True)
        fs.rm("/vault-out", recursive=True)

    def test_are_needed_and_passed_on(self, written):
        (bag, views, *_), report = written
        assert bag.listing.storage_options == {"secret": SECRET}
        assert views.compute()[0].source.storage_options == {"secret": SECRET}
        assert report.outputs == 4
        assert len(report.manifest) == 4

    def test_are_never_shown(self, written):
        collections, report = written
        for one in collections:
            graph = one.__dask_graph__()
            tasks = dict(graph)
            texts = [repr(one), str(one), repr(graph), graph._repr_html_(), *map(repr, tasks)]
            texts += [repr(task) for task in tasks.values()]
            texts += [repr(layer) + str(name) for name, layer in graph.layers.items()]
            assert not [text for text in texts if SECRET in text], repr(one)
        texts = [repr(report), str(report), report._repr_html_(), repr(report.manifest), str(report.manifest.expr)]
        texts += [repr(report.manifest.compute().to_dict()), repr(dict(report.manifest.__dask_graph__()))]
        assert not [text for text in texts if SECRET in text]

    def test_are_never_in_records_or_errors(self, written):
        import fsspec

        (bag, views, *_), _ = written
        fsspec.filesystem("memory", secret=SECRET).pipe_file("/vault/a.png", b"broken")
        records = [*bag.compute(), *views.compute()]
        assert any(record.error for record in records)
        texts = [repr(r) + repr(r.source) + repr(r.lineage) + str(r.error) for r in records]
        assert not [text for text in texts if SECRET in text]
        with pytest.raises(StoreError) as caught:
            ks.read_images("memory://nothing-here", storage_options={"secret": SECRET})
        assert SECRET not in str(caught.value)
