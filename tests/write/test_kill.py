"""A run that was killed anywhere is finished by the next: same files, same rows, nothing committed done twice."""

import itertools
import random
import signal

import pytest
from dask.distributed import Client

import kaleidoscope as ks
from kaleidoscope.manifest import from_parquet

#: What writing the twelve photos puts: the lease, two files of the record, the lease again, 768 outputs, six parts.
PUTS = 4 + 768 + 6
STAGES = ("half", "written", "renamed")


def moments(seed, count=10, by_default=3):
    """Spread moments over a run, one drawn from each tenth of it; most of them behind the slow marker."""
    draw = random.Random(seed)  # noqa: S311 - which moment, not a secret
    edges = [1 + PUTS * i // count for i in range(count + 1)]
    drawn = [(draw.randrange(low, high), draw.choice(STAGES)) for low, high in itertools.pairwise(edges)]
    kept = {count * (2 * i + 1) // (2 * by_default) for i in range(by_default)}
    return [
        pytest.param(at, stage, id=f"{seed}-put{at}-{stage}", marks=[] if i in kept else pytest.mark.slow)
        for i, (at, stage) in enumerate(drawn)
    ]


@pytest.fixture
def finish(photos, augmented, whole, check_whole, stamps):
    """Return a function that lets a new run finish a target, and compares the outcome with an undisturbed run."""

    def finish(target, *, stopped=True):
        parts = list((target / "_kaleidoscope" / "manifest").glob("*.parquet"))
        committed = {name for part in parts for name in from_parquet(part.read_bytes())["output"].to_pylist()}
        for path in target.glob("*.jpg"):
            assert path.read_bytes() == whole[1][path.name], "half an object is visible"
        before = stamps(target, committed)
        report = augmented(photos).write(target).compute()
        assert report.outputs == 768 - len(committed)
        assert report.skipped == len(committed)
        if stopped:
            assert report.outputs > 0, "it was over before it was stopped"
        rows, files = check_whole(target)
        assert files == whole[1]
        assert rows.equals(whole[0])
        assert stamps(target, committed) == before, "outputs of a committed block were written again"
        return len(committed)

    return finish


@pytest.mark.parametrize(
    ("at", "stage"),
    [
        *moments("threads"),
        pytest.param(1, "renamed", id="lease-taken", marks=pytest.mark.slow),
        pytest.param(2, "renamed", id="inputs-recorded"),
        pytest.param(3, "half", id="record-half-written", marks=pytest.mark.slow),
        pytest.param(4, "half", id="record-written", marks=pytest.mark.slow),
        pytest.param(PUTS, "written", id="last-part-not-yet-there"),
    ],
)
def test_killed_client_with_threads_is_finished_by_the_next(at, stage, photos, start_client, finish, tmp_path):
    sabotage = {"at": at, "stage": stage, "signal": "SIGKILL", "to": "self"}
    client = start_client(photos, [tmp_path / "out"], sabotage=sabotage)
    assert client.wait() == -signal.SIGKILL, client.log.read_text()
    committed = finish(tmp_path / "out")
    assert committed <= at
    if at > PUTS * 2 // 3:
        assert committed >= 128, "by then some block has to be committed"


@pytest.mark.parametrize(("at", "stage"), moments("processes"))
def test_killed_client_of_a_cluster_is_finished_by_the_next(at, stage, photos, start_client, finish, tmp_path):
    sabotage = {"at": at, "stage": stage, "signal": "SIGKILL", "to": "client"}
    client = start_client(photos, [tmp_path / "out"], workers=2, sabotage=sabotage)
    assert client.wait() == -signal.SIGKILL, client.log.read_text()
    finish(tmp_path / "out")


@pytest.mark.parametrize(("at", "stage"), moments("nanny", by_default=2))
def test_run_survives_a_killed_worker_that_its_nanny_restarts(at, stage, photos, augmented, here, finish, tmp_path):
    variables = here(tmp_path, at=at, stage=stage, signal="SIGKILL", to="self")
    spec = {"workers": 2, "dashboard": False, "env": variables, "preload": [str(here.preload)]}
    with ks.cluster.local(**spec) as cluster, cluster.get_client():
        report = augmented(photos).write(tmp_path / "out").compute()
    assert report.outputs == 768, "what the killed worker had committed counts, too"
    assert (tmp_path / "puts").stat().st_size > at, "nobody was killed"
    finish(tmp_path / "out", stopped=False)


@pytest.mark.parametrize(("at", "stage"), moments("no-nanny", by_default=1))
def test_run_survives_a_killed_worker_that_stays_dead(at, stage, photos, augmented, apart, here, finish, tmp_path):
    variables = here(tmp_path, at=at, stage=stage, signal="SIGKILL", to="self")
    with Client(scheduler_file=apart(2, "--no-nanny", "--preload", str(here.preload), **variables)) as client:
        client.wait_for_workers(2, timeout=60)
        report = augmented(photos).write(tmp_path / "out").compute()
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == 1, "nobody was killed"
    assert report.outputs == 768
    finish(tmp_path / "out", stopped=False)


@pytest.mark.parametrize(
    ("workers", "to", "at"),
    [
        pytest.param(0, "self", 400, id="threads"),
        pytest.param(2, "group", 500, id="cluster"),
        pytest.param(2, "client", 300, id="cluster-client-alone", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_gives_the_lease_back_and_stays_resumable(workers, to, at, photos, start_client, finish, tmp_path):
    sabotage = {"at": at, "stage": "written", "signal": "SIGINT", "to": to}
    client = start_client(photos, [tmp_path / "out"], workers=workers, sabotage=sabotage)
    status = client.wait()
    assert status != 0, client.log.read_text()
    assert [result["error"] for result in client.results] == ["KeyboardInterrupt"], client.log.read_text()
    assert list((tmp_path / "out" / "_kaleidoscope").glob("lease-*")) == []
    finish(tmp_path / "out")
