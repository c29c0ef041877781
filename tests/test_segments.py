"""A tree that is cut where the resources of its ops change: what comes of it is what comes of one that is not."""

import json
from collections import Counter

import dask
import dask.bag as db
import distributed  # noqa: F401 - first: what is configured around its import is lost with it
import numpy as np
import pyarrow.parquet as pq
import pytest

import kaleidoscope as ks
from kaleidoscope import ops, samples
from kaleidoscope.errors import RecipeError, ResourceError
from kaleidoscope.ops.combine import as_recipe
from kaleidoscope.plan import make_plan
from kaleidoscope.relay import legs_of
from kaleidoscope.relay_graph import width
from kaleidoscope.targets import Targets
from kaleidoscope.tree import grow

GPU = {"GPU": 1}
X = {"X": 2}


def invert(resources=None):
    return ops.Apply("numpy:invert", resources=resources or {})


#: Each as it is with and without resources: cut once and again, into branches, in front, behind, by two kinds.
RECIPES = {
    "in the middle": lambda gpu, _: [ops.HorizontalFlip(), invert(gpu), ops.GaussianBlur(sigma_limit=(1, 2))],
    "first": lambda gpu, _: [invert(gpu), ops.Rotate(15)],
    "last": lambda gpu, _: ops.Sequential(ops.Rotate(15), invert(gpu)),
    "twice": lambda gpu, _: ops.Sequential(ops.PowerSet(invert(gpu)), ops.Rotate(9), ops.PowerSet(invert(gpu))),
    "two kinds": lambda gpu, x: ops.Branch(
        a=invert(gpu), b=ops.Sequential(invert(x), invert(gpu)), c=ops.HorizontalFlip()
    ),
    "repeated": lambda gpu, _: ops.Sequential(ops.Repeat(ops.Rotate(20), 2), ops.PowerSet(invert(gpu))),
    "after a name": lambda gpu, _: ops.Sequential(ops.Branch(small=ops.Resize(60, 80)), invert(gpu)),
    "tiles": lambda gpu, _: ops.Sequential(ops.Split(2, 2), ops.PowerSet(invert(gpu))),
    "in a choice": lambda gpu, _: ops.Sequential(ops.OneOf(invert(gpu), ops.Rotate(10)), ops.PowerSet(ops.Rotate(5))),
}


@pytest.fixture
def here():
    """Let this process have what the ops need."""
    with dask.config.set({"distributed.worker.resources": {"GPU": 1, "X": 2}}):
        yield


@pytest.fixture
def photographs():
    boxes = {f"{name}.jpg": Targets(boxes=[[30, 40, 200, 180]], classes=["it"]) for name in ("chelsea", "coffee")}
    return ks.read_images(samples.folder()).with_targets(boxes)


def plan_of(recipe):
    return make_plan(grow(as_recipe(recipe)))


def looks(records):
    """Return what records are, by key and variant, in order."""
    return [
        (r.key, r.variant, None if r.pixels is None else r.pixels.tobytes(), r.targets, type(r.error).__name__)
        for r in records
    ]


# ------------------------------------------------------------------------------------ the plan


def test_a_tree_without_resources_is_one_segment():
    plan = plan_of([ops.HorizontalFlip(), invert()])
    assert [str(segment) for segment in plan.segments] == ["CPU"]
    assert "in 1 segment on the CPU" in plan.explain()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("in the middle", ["CPU", "GPU: 1", "CPU"]),
        ("first", ["CPU", "GPU: 1", "CPU"]),
        ("last", ["CPU", "GPU: 1"]),
        ("twice", ["CPU", "GPU: 1", "CPU", "GPU: 1", "GPU: 1"]),
        ("two kinds", ["CPU", "GPU: 1", "X: 2", "GPU: 1"]),
    ],
)
def test_is_cut_only_where_resources_change(name, expected):
    plan = plan_of(RECIPES[name](GPU, X))
    found = [str(segment) for segment in plan.segments]
    if name == "twice":  # on or off before the rotation: one comes to the second kernel a segment later than the other
        assert Counter(found) == Counter(["CPU", "GPU: 1", "CPU", "GPU: 1"])
    else:
        assert found == expected
    assert f"in {len(found)} segments: {' → '.join(found)}" in plan.explain()
    for planned in plan.root.below():
        for child in planned.children:
            same = plan.segments[planned.segment].resources == plan.segments[child.segment].resources
            assert (planned.segment == child.segment) == same


def test_geometry_on_both_sides_of_a_cut_is_not_one_warp():
    class Far(ops.Rotate):
        short_name = "far"
        resources = GPU

    plan = plan_of(ops.Sequential(ops.Rotate(10), Far(10)))
    assert plan.applications == {"warp": 2}
    assert plan_of(ops.Sequential(ops.Rotate(10), ops.Rotate(10))).applications == {"warp": 1}


def test_every_variant_is_written_by_a_leg_on_the_cpu():
    for name, recipe in RECIPES.items():
        plan = plan_of(recipe(GPU, X))
        legs = legs_of(plan)
        written = Counter(place for leg in legs for place in leg.writes)
        assert written == {s.place: 1 for s in plan.segments if s.resources}, name
        assert all(leg.on_cpu for leg in legs if leg.writes), name
        assert all(feed < number for number, leg in enumerate(legs) for feed in leg.feeds), name


def test_how_many_images_pass_a_cut():
    assert width(plan_of(RECIPES["in the middle"](GPU, X))) == 4  # two that the GPU made, finished and to go on with
    assert width(plan_of(ops.Sequential(ops.Rotate(15), invert(GPU), ops.Rotate(9)))) == 1


@pytest.mark.parametrize(
    "resources", [7, {"GPU": 0}, {"GPU": -1}, {"": 1}, {"GPU": "1"}, {"GPU": True}, {"GPU": float("inf")}]
)
def test_resources_that_make_no_sense_are_refused(resources):
    with pytest.raises(RecipeError, match="names of resources and how much of each"):
        ops.Apply("numpy:invert", resources=resources)


def test_resources_are_part_of_a_recipe(tmp_path):
    recipe = ops.Sequential(invert(GPU), invert())
    ks.dump_recipe(recipe, tmp_path / "recipe.yaml")
    assert ks.load_recipe(tmp_path / "recipe.yaml", allow_functions=True) == recipe
    assert eval(repr(recipe), {"Sequential": ops.Sequential, "Apply": ops.Apply}) == recipe


# ------------------------------------------------------------------------------------ what comes of it


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.usefixtures("here")
def test_a_bag_is_that_of_the_same_tree_in_one_piece(photographs, name):
    whole = ks.augment(photographs, RECIPES[name]({}, {}), seed=3)
    cut = ks.augment(photographs, RECIPES[name](GPU, X), seed=3)
    assert len(cut.job.plan.segments) > 1
    assert looks(cut.compute(scheduler="sync")) == looks(whole.compute(scheduler="sync"))


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
@pytest.mark.parametrize("name", ["in the middle", "last", "two kinds"])
@pytest.mark.usefixtures("here")
def test_a_write_is_that_of_the_same_tree_in_one_piece(photographs, tmp_path, name, layout):
    found = []
    for place, recipe in (("whole", RECIPES[name]({}, {})), ("cut", RECIPES[name](GPU, X))):
        views = ks.augment(photographs, recipe, seed=3)
        report = views.write(tmp_path / place, layout=layout).compute()
        rows = (
            report.manifest.compute()
            .sort_values(["key", "variant"])
            .drop(columns=["recipe_id", "params", "shard", "others"])
        )
        found.append((rows.to_dict("records"), report.outputs, report.bytes, _contents(tmp_path / place, layout)))
        assert views.write(tmp_path / place, layout=layout).left == 0
    assert found[0] == found[1]


def _contents(folder, layout):
    if layout == "parquet":
        tables = [pq.read_table(path).select(["image", "key", "variant"]) for path in sorted(folder.glob("*.parquet"))]
        return [table.to_pylist() for table in tables]
    if layout == "webdataset":
        return len(list(folder.glob("*.tar")))
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.jpg")}


@pytest.mark.usefixtures("here")
def test_images_that_a_bag_carries_and_images_that_fail(tmp_path):
    rng = np.random.default_rng(0)
    good = [(f"{i}.png", rng.integers(0, 256, (20, 30, 3), np.uint8)) for i in range(5)]
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    bag = db.from_sequence([*good, str(tmp_path / "broken.jpg")], npartitions=3)
    found = []
    for place, gpu in (("whole", {}), ("cut", GPU)):
        views = ks.augment(bag, [ops.HorizontalFlip(), invert(gpu)], seed=3)
        report = views.write(tmp_path / place, format="png").compute()
        assert (report.outputs, report.failed) == (20, 1)
        rows = report.manifest.compute().sort_values(["key", "variant"])
        found.append(
            rows[["key", "variant", "status", "step", "checksum", "source_pages"]].astype(str).to_dict("records")
        )
        assert (
            looks(views.compute())[:20]
            == looks(ks.augment(bag, [ops.HorizontalFlip(), invert()], seed=3).compute())[:20]
        )
    assert found[0] == found[1]


def breaks(pixels):
    raise ValueError("broken here")


@pytest.mark.usefixtures("here")
def test_an_op_that_fails_on_its_worker_costs_its_own_variants(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr("numpy.invert", breaks)
    views = ks.augment(photographs, RECIPES["in the middle"](GPU, X))
    report = views.write(tmp_path).compute()
    assert report.outputs == 6 * 4
    rows = report.manifest.compute()
    lost = rows[rows["status"] == "failed"]
    assert set(lost["variant"]) == {"apply", "hflip-apply", "apply-blur", "hflip-apply-blur"}
    assert set(lost["error"].str.contains("broken here")) == {True}
    monkeypatch.undo()
    assert views.write(tmp_path).compute().outputs == 6 * 4  # what failed is made


@pytest.mark.usefixtures("here")
def test_a_block_goes_in_pieces_that_are_small_enough(photographs, tmp_path):
    recipe = ops.Sequential(ops.Rotate(15), invert(GPU))
    with dask.config.set({"kaleidoscope.partition-bytes": 1}):
        graph = ks.augment(photographs, recipe).write(tmp_path).__dask_graph__()
    names = Counter(key[0].partition("-")[0] for key in graph if isinstance(key, tuple))
    assert (names["leg0"], names["leg1"], names["leg2"], names["blocks"]) == (6, 6, 6, 1)
    with dask.config.set({"kaleidoscope.partition-bytes": "1 GiB"}):
        graph = ks.augment(photographs, recipe).write(tmp_path).__dask_graph__()
    names = Counter(key[0].partition("-")[0] for key in graph if isinstance(key, tuple))
    assert (names["leg0"], names["blocks"]) == (1, 1)


@pytest.mark.usefixtures("here")
def test_only_so_many_pieces_are_under_way(tmp_path):
    images = [(f"{i}.png", np.full((8, 8, 3), i, np.uint8)) for i in range(40)]
    recipe = ops.Sequential(ops.Rotate(15), invert(GPU))
    with dask.config.set({"kaleidoscope.partition-bytes": 1}):
        write = ks.augment(db.from_sequence(images, npartitions=40), recipe).write(tmp_path, format="png")
        under_way, most = set(), 0

        def begun(key, *_):
            nonlocal most
            if isinstance(key, tuple) and key[0].startswith("leg0-"):
                under_way.add(key[1:])
                most = max(most, len(under_way))

        def ended(key, *_):
            if isinstance(key, tuple) and key[0].startswith("leg2-"):
                under_way.remove(key[1:])

        with dask.callbacks.Callback(pretask=begun, posttask=ended):
            assert write.compute(num_workers=8).outputs == 40
    from kaleidoscope.following import thread_count
    from kaleidoscope.relay_graph import in_flight

    assert 1 <= most <= in_flight(thread_count())


# ------------------------------------------------------------------------------------ where it must not run


def test_what_this_process_has_not_is_refused_before_anything_is_read(photographs, tmp_path):
    views = ks.augment(photographs, RECIPES["in the middle"](GPU, X))
    for call in (views.compute, views.map(len).compute, views.count().compute, views.write(tmp_path / "out").compute):
        with pytest.raises(ResourceError, match="Apply needs GPU=1, and this process has nothing"):
            call()
    with pytest.raises(ResourceError, match="Apply needs GPU=1"):
        views.preview(1)
    with pytest.raises(ResourceError, match="the estimate needs GPU=1"):
        views.estimate(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert views.write(tmp_path / "out").left == 6 * 8


@pytest.mark.parametrize(
    "take_over",
    [
        lambda bag: dask.delayed(list)(bag).compute(),
        lambda bag: db.zip(bag, bag).compute(),
        lambda bag: dask.compute(*bag.to_delayed()),
        lambda bag: bag.to_dataframe(meta={"key": str}).compute(),
    ],
)
def test_where_dask_takes_over_the_segment_itself_refuses(photographs, take_over):
    views = ks.augment(photographs, RECIPES["in the middle"](GPU, X))
    with pytest.raises(ResourceError, match=r"Apply needs .*GPU=1, and .* nothing"):
        take_over(views)


def test_what_a_user_annotates_means_nothing_to_threads(photographs):
    with dask.annotate(resources=X):
        bag = photographs.map(lambda record: record.key)
    assert len(bag.compute()) == 6


def test_the_run_record_says_what_was_needed(photographs, tmp_path, here):
    ks.augment(photographs, ops.Sequential(ops.Rotate(1), invert(GPU))).write(tmp_path).compute()
    record = json.loads((tmp_path / "_kaleidoscope" / "run.json").read_text())
    assert '"resources": {"GPU": 1}' in json.dumps(record)
