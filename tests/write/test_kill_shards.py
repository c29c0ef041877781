"""A run into shards that was killed anywhere is finished by the next: same shards, same rows, nothing done twice."""

import signal

import pytest

import kaleidoscope as ks
from kaleidoscope.manifest import from_parquet

OPS = ("HorizontalFlip", "Rotate", "HueSaturationValue")
HOW = {"format": "png", "shard_bytes": 2**20}
LAYOUTS = ("webdataset", "parquet")
#: The lease, two files of the record, the lease again; then five shards and three parts, a block of two shards each but
#: for the last, which has one.
PUTS = 4 + 5 + 3


@pytest.fixture(scope="module")
def forty(tmp_path_factory, make_photos):
    """Forty photos: with eight variants as PNG, 320 outputs in three blocks."""
    return make_photos(tmp_path_factory.mktemp("forty") / "photos", 40, shape=(64, 96, 3))


@pytest.fixture(scope="module")
def undisturbed(forty, augmented, rows, files, tmp_path_factory):
    """Rows and shards of a run that nothing disturbed, by layout."""
    made = {}
    for layout in LAYOUTS:
        target = tmp_path_factory.mktemp("undisturbed") / layout
        augmented(forty, 3).write(target, layout=layout, **HOW).compute(scheduler="sync")
        made[layout] = rows(target), files(target)
        assert len(made[layout][1]) == 5
    return made


@pytest.fixture
def finish(forty, augmented, undisturbed, rows, files, stamps):
    """Return a function that lets a new run finish a target, and compares the outcome with an undisturbed run."""

    def finish(target, layout, *, stopped=True):
        whole_rows, whole = undisturbed[layout]
        parts = list((target / "_kaleidoscope" / "manifest").glob("*.parquet"))
        tables = [from_parquet(part.read_bytes()) for part in parts]
        committed = {shard for table in tables for shard in table["shard"].to_pylist()}
        for name, data in files(target).items():
            assert data == whole[name], "half a shard is visible"
        before = stamps(target, committed)
        done = sum(len(table) for table in tables)
        report = augmented(forty, 3).write(target, layout=layout, **HOW).compute()
        assert (report.outputs, report.skipped) == (320 - done, done)
        assert not stopped or report.outputs > 0, "it was over before it was stopped"
        assert files(target) == whole
        assert rows(target).equals(whole_rows)
        assert stamps(target, committed) == before, "shards of a committed block were written again"
        record = target / "_kaleidoscope"
        assert list(record.glob("lease-*")) == list(record.glob("unfinished/*")) == []

    return finish


def moments(by_default):
    """Ten moments, a shard or a part half written, written or renamed; some by default."""
    ten = [
        *((4, "renamed"), (5, "half"), (5, "written"), (6, "renamed"), (7, "half")),
        *((8, "renamed"), (9, "half"), (10, "written"), (11, "renamed"), (PUTS, "written")),
    ]
    return [
        pytest.param(at, stage, id=f"put{at}-{stage}", marks=[] if (at, stage) in by_default else pytest.mark.slow)
        for at, stage in ten
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("at", "stage"), moments({(6, "renamed"), (9, "half"), (PUTS, "written")}))
def test_killed_client_is_finished_by_the_next(at, stage, layout, forty, start_client, finish, tmp_path):
    sabotage = {"at": at, "stage": stage, "signal": "SIGKILL", "to": "self"}
    client = start_client(forty, [tmp_path / "out"], names=OPS, layout=layout, sabotage=sabotage, **HOW)
    assert client.wait() == -signal.SIGKILL, client.log.read_text()
    finish(tmp_path / "out", layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("at", "stage"), moments({(8, "renamed")}))
def test_run_survives_a_killed_worker(at, stage, layout, forty, augmented, here, finish, tmp_path):
    if at == 4:
        pytest.skip("the client's own put")
    variables = here(tmp_path, at=at, stage=stage, signal="SIGKILL", to="self")
    spec = {"workers": 2, "dashboard": False, "env": variables, "preload": [str(here.preload)]}
    with ks.cluster.local(**spec) as cluster, cluster.get_client():
        report = augmented(forty, 3).write(tmp_path / "out", layout=layout, **HOW).compute()
    assert report.outputs == 320, "what the killed worker had committed counts, too"
    assert (tmp_path / "puts").stat().st_size > at, "nobody was killed"
    finish(tmp_path / "out", layout, stopped=False)


SLOW = [(4, "renamed"), (5, "half"), (5, "renamed"), (6, "written"), (7, "half"), (7, "written")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("at", "stage"), [(7, "renamed"), (6, "renamed"), *(pytest.param(*slow, marks=pytest.mark.slow) for slow in SLOW)]
)
def test_rewriting_of_a_block_that_was_killed_is_made_good(
    at, stage, layout, make_photos, augmented, start_client, rows, files, tmp_path
):
    """After the lease, the record and the lease, the block's two shards are the 5th and 6th put, its part the 7th."""
    source, target = make_photos(tmp_path / "photos", 16, shape=(64, 96, 3)), tmp_path / "out"
    augmented(source, 3).write(target, layout=layout, **HOW).compute()
    make_photos(tmp_path / "others", 1, first=77, shape=(64, 96, 3))
    (tmp_path / "others" / "077.jpg").replace(source / "003.jpg")
    sabotage = {"at": at, "stage": stage, "signal": "SIGKILL", "to": "self"}
    client = start_client(source, [target], names=OPS, layout=layout, sabotage=sabotage, **HOW)
    assert client.wait() == -signal.SIGKILL, client.log.read_text()
    augmented(source, 3).write(target, layout=layout, **HOW).compute()
    told = rows(target)
    assert set(told["shard"]) == set(files(target)), "outdated shards were left"
    augmented(source, 3).write(tmp_path / "fresh", layout=layout, **HOW).compute()
    fresh = rows(tmp_path / "fresh")
    assert told.drop(columns="shard").equals(fresh.drop(columns="shard"))
    by_name = {name[13:]: data for name, data in files(target).items()}
    assert by_name == {name[13:]: data for name, data in files(tmp_path / "fresh").items()}
