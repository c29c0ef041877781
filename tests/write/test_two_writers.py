"""Two who start to write to one target at once: one of them does, the other is refused, and nothing is mixed."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

import kaleidoscope as ks
from kaleidoscope import cli, ops
from kaleidoscope import lease as leases
from kaleidoscope.errors import StoreError
from kaleidoscope.lease import Owner, take_lease
from kaleidoscope.storage import Store

#: What the second is told: while the first one is at it, just after, or once there are outputs of its recipe.
REFUSED = re.compile(r"is being written by|was written to since this run was planned|has just been at|another recipe")
SEEDS = (7, 8)


@pytest.fixture(params=["disk", "moto", "s3"])
def place(request, tmp_path):
    """A folder, a bucket where one of two creates an object, and one where both do: a URL and what opens it."""
    if request.param == "disk":
        return str(tmp_path / "targets"), {}
    return f"s3://out/{tmp_path.name}", request.getfixturevalue(request.param)


def objects_of(store):
    """Return every object that is no record, the rows but for where and when, and the names in the record."""
    names = store.find()
    outputs = {name: store.read(name) for name in names if not name.startswith("_kaleidoscope/")}
    rows = ks.read_manifest(store.url, storage_options=store.storage_options).compute(scheduler="sync")
    rows = rows.sort_values(["key", "variant"], ignore_index=True)
    return outputs, rows, {name for name in names if name not in outputs}


@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_of_two_recipes_at_once_one_is_written_and_the_other_refused(
    rounds, place, make_photos, augmented, start_client, tmp_path
):
    url, options = place
    source = make_photos(tmp_path / "photos", 2)
    whole = []
    for seed in SEEDS:
        augmented(source, 2, seed=seed).write(tmp_path / f"whole-{seed}", format="png").compute(scheduler="sync")
        whole.append(objects_of(Store(tmp_path / f"whole-{seed}")))
    assert whole[0][0] != whole[1][0]

    targets = [f"{url}/{number}" for number in range(rounds)]
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    how = {"names": ("HorizontalFlip", "Rotate"), "format": "png", "storage_options": options}
    pair = [
        start_client(source, targets, meet=meet, seed=seed, **how)
        for meet, seed in zip(((a, b), (b, a)), SEEDS, strict=True)
    ]
    assert [client.wait() for client in pair] == [0, 0], "".join(client.log.read_text() for client in pair)

    won = []
    for target, *came in zip(targets, *(client.results for client in pair), strict=True):
        (winner,) = (which for which in (0, 1) if "error" not in came[which])
        assert came[winner]["outputs"] == 8, came
        assert came[1 - winner]["error"] in {"StoreError", "RecipeError"}, came
        assert REFUSED.search(came[1 - winner]["message"]), came
        outputs, rows, record = objects_of(Store(target, options))
        assert outputs == whole[winner][0]
        assert rows.equals(whole[winner][1])
        # rclone goes on listing an object that was put and deleted at once, which is not there.
        left = {name: Store(target, options).read_if_there(name) for name in record - whole[winner][2]}
        record = record - {name for name, data in left.items() if data is None}
        assert record == whole[winner][2], (
            f"a lease or something unfinished was left, or the other's record: {left} {came}"
        )
        won.append(winner)
    assert rounds < 100 or set(won) == {0, 1}, "the same one was always first: nothing was tried"


@pytest.fixture
def another():
    """Return the owner of a run that a process which lives on would be."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield replace(Owner.here("theirs"), pid=child.pid, born=psutil.Process(child.pid).create_time())
        child.communicate(b"\n")


def test_the_second_is_told_on_the_command_line_with_an_exit_code(
    place, another, make_photos, in_environment, tmp_path, monkeypatch, capsys
):
    url, options = place
    lease = take_lease(Store(url, options), another)
    if options:
        in_environment(options)
    source = make_photos(tmp_path / "photos", 1)
    ks.dump_recipe([ops.HorizontalFlip()], tmp_path / "r.yaml")
    words = ["augment", str(source), url, "-r", str(tmp_path / "r.yaml"), "--json"]
    monkeypatch.setattr(sys, "argv", ["kaleidoscope", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert (ended.value.code, len(said.err.splitlines()), said.out) == (2, 1, ""), said.err
    assert f"is being written by process {another.pid} on" in said.err
    assert Store(url, options).find() == [lease.name]
    lease.release()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["outputs"] == 2


@pytest.mark.parametrize("slow", [False, True])
def test_without_conditional_puts_the_last_lease_counts_and_who_was_slow_looks_again(
    slow, s3, another, tmp_path, monkeypatch
):
    """The other one comes after the look: in time, so that one sees it, or so late that it may be at work already."""
    store = Store(f"s3://out/{tmp_path.name}", s3)
    looks, took = [], []

    def held(store, real=leases._held):
        looks.append(1)
        return real(store)

    def create(store, name, data, real=Store.create):
        if not took:
            took.append(name)
            if slow:  # another one took it, and is done with it
                monkeypatch.setattr(leases, "_SETTLES_IN", 0.0)
            else:
                real(store, name, leases._text(another, "new"))
                monkeypatch.setattr(leases.time, "sleep", lambda _: real(store, name, leases._text(another, "new")))
        return real(store, name, data)

    monkeypatch.setattr(leases, "_held", held)
    monkeypatch.setattr(Store, "create", create)
    expected = "take too long to tell two writers apart" if slow else f"written by process {another.pid}"
    with pytest.raises(StoreError, match=expected):
        take_lease(store, Owner.here("mine"))
    assert len(looks) == (leases._LOOKS if slow else 2)
    monkeypatch.undo()
    assert len(store.list("_kaleidoscope")) == (0 if slow else 1)
