import ipaddress
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Nanny

from kaleidoscope import cluster
from kaleidoscope.cluster.local import local_spec
from kaleidoscope.errors import RecipeError, ResourceError


def listeners() -> list[tuple[int, str, int]]:
    """Return (pid, address, port) of everything that this process and its children listen on."""
    me = psutil.Process()
    found = []
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it has ended since
            found += [
                (process.pid, connection.laddr.ip, connection.laddr.port)
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
    return found


@pytest.mark.parametrize(
    ("cores", "given", "expected"),
    [
        (8, {}, (8, 1)),
        (8, {"workers": 2}, (2, 4)),
        (8, {"threads_per_worker": 2}, (4, 2)),
        (2, {"threads_per_worker": 4}, (1, 4)),
        (2, {"workers": 5}, (5, 1)),
        (8, {"workers": 3, "threads_per_worker": 1}, (3, 1)),
    ],
    ids=str,
)
def test_spec_fills_the_cores_unless_told(cores, given, expected):
    spec = local_spec(cores, **given)
    assert (spec["counts"], spec["follow"]) == ({"cpu": expected[0]}, {}), "as many as that, and no fewer later"
    assert spec["groups"]["cpu"].threads == expected[1]


@pytest.mark.parametrize(
    ("cores", "given", "expected"),
    [
        (8, {"gpus": 2}, {"cpu": 6, "gpu": 2}),
        (2, {"gpus": 4}, {"cpu": 1, "gpu": 4}),
        (8, {"gpus": 1, "workers": 8}, {"cpu": 8, "gpu": 1}),
        (8, {"gpus": 2, "threads_per_worker": 2}, {"cpu": 3, "gpu": 2}),
    ],
    ids=str,
)
def test_spec_gives_each_gpu_a_worker_of_its_own(cores, given, expected):
    spec = local_spec(cores, **given)
    assert spec["counts"] == expected
    assert spec["groups"]["gpu"].resources == {"GPU": 1}
    assert spec["memory_limit"] == 1 / sum(expected.values()), "a share of the machine's for each"


def test_spec_passes_other_arguments_on():
    spec = local_spec(2, memory_limit="1GiB", scheduler_kwargs={"idle_timeout": "1h"})
    assert spec["memory_limit"] == "1GiB"
    assert spec["scheduler_kwargs"] == {"dashboard": True, "idle_timeout": "1h"}


@pytest.mark.parametrize(
    "name", ["host", "ip", "interface", "scheduler_port", "dashboard_address", "worker_dashboard_address"]
)
def test_spec_refuses_to_listen_elsewhere(name):
    with pytest.raises(RecipeError, match=rf"{name}=.*127\.0\.0\.1 only"):
        local_spec(2, **{name: "0.0.0.0"})  # noqa: S104 - what is refused
    with pytest.raises(RecipeError, match=name):
        local_spec(2, scheduler_kwargs={name: "0.0.0.0"})  # noqa: S104 - what is refused


def test_spec_refuses_gpus_within_this_process():
    with pytest.raises(RecipeError, match="process of its own"):
        local_spec(2, gpus=1, processes=False)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"], ids=repr)
@pytest.mark.parametrize("name", ["workers", "threads_per_worker"])
def test_spec_refuses_what_is_no_count(name, wrong):
    with pytest.raises(RecipeError, match=f"{name}={wrong!r}"):
        local_spec(2, **{name: wrong})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"memory": "2GiB"}, r"local\(memory=\.\.\.\): there is no such argument\. Did you mean 'memory_limit'\?"),
        ({"n_workers": 2}, r"n_workers=\.\.\.\).* Did you mean 'workers'\?"),
        ({"n_workers": 2, "worker_class": Nanny}, "Did you mean 'workers'"),
        ({"nthreads": 2}, "Did you mean 'threads_per_worker'"),
        ({"threads": 2}, "Did you mean 'threads_per_worker'"),
        ({"gpu": 1}, "Did you mean 'gpus'"),
        ({"local_directry": "/tmp"}, "Did you mean 'local_directory'"),  # noqa: S108 - not used
        ({"zzz": 1}, r"no such argument\. It takes workers, threads_per_worker, gpus, dashboard, and what"),
        ({"groups": {}}, "no such argument"),
        ({"follow": {}}, "no such argument"),
        ({"worker_kwargs": {}}, "no such argument"),
        ({"scheduler_ip": "10.0.0.1"}, "no such argument"),
        ({"env": {"A": "1"}, "processes": False}, r"env=.*no such argument with processes=False"),
        ({"resources": "GPU"}, r"local\(resources='GPU'\): expected names with amounts, such as {'GPU': 1}"),
        ({"resources": {"GPU": "1"}}, "resources=.*expected names with amounts"),
        ({"env": "A=1"}, "env='A=1'.*expected a mapping"),
        ({"scheduler_kwargs": 5}, "scheduler_kwargs=5.*expected a mapping"),
        ({"memory_limit": "lots"}, "memory_limit='lots'.*expected bytes such as '2GiB'"),
        ({"memory_limit": -1}, "memory_limit=-1.*expected bytes"),
    ],
    ids=str,
)
def test_local_refuses_wrong_arguments_in_a_line_before_anything_is_started(given, expected):
    before = set(listeners())
    with pytest.raises(RecipeError, match=expected) as caught:
        cluster.local(**given)
    assert "\n" not in str(caught.value)
    assert set(listeners()) == before


@pytest.mark.parametrize(
    "given",
    [
        {"resources": {"X": 1}, "env": {"A": "1"}, "lifetime": "1h", "local_directory": "here"},
        {"memory_limit": 0.5, "name": "ours", "silence_logs": 30, "security": None},
        {"memory_limit": "auto", "processes": False, "connection_limit": 3},
        {"memory_limit": None, "worker_class": Nanny, "of_its_own": 1},
        {"memory_limit": 0},
    ],
    ids=str,
)
def test_spec_takes_what_dask_takes(given):
    spec = local_spec(2, **given)
    assert {name: spec[name] for name in given} == given


@pytest.mark.parametrize("dashboard", [True, False])
def test_local_computes_listens_on_loopback_only_and_closes(dashboard):
    before = set(listeners())
    with cluster.local(workers=1, dashboard=dashboard) as started, started.get_client() as client:
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3

        opened = set(listeners()) - before
        mine = psutil.Process().pid
        assert {pid == mine for pid, *_ in opened} == {True, False}, "a scheduler here, a worker beside it"
        assert len(opened) >= 5, "scheduler, worker, their HTTP ports, and the nanny"
        assert all(ipaddress.ip_address(address).is_loopback for _, address, _ in opened), opened

        if dashboard:
            with urllib.request.urlopen(started.dashboard_link) as page:  # noqa: S310 - http, on loopback
                assert page.status == 200
        else:
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(started.dashboard_link)  # noqa: S310 - http, on loopback
    assert set(listeners()) <= before


def test_local_runs_in_this_process_on_loopback():
    before = set(listeners())
    quiet = {"processes": False, "dashboard": False}
    with cluster.local(workers=1, **quiet) as started, started.get_client() as client:
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
        opened = set(listeners()) - before
        assert {pid for pid, *_ in opened} == {psutil.Process().pid}
        assert all(ipaddress.ip_address(address).is_loopback for _, address, _ in opened), opened


LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc to look at")
ALLOCATOR = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def allocator_of_a_worker():
    """Return what a worker's process was begun with: later is too late for C's allocator."""
    with cluster.local(workers=1, dashboard=False) as started, started.get_client() as client:
        begun_with = client.submit(lambda: Path("/proc/self/environ").read_text()).result(timeout=30)
    variables = dict(pair.partition("=")[::2] for pair in begun_with.split("\0"))
    return [variables.get(name) for name in ALLOCATOR]


@LINUX
def test_workers_keep_the_memory_of_an_image(monkeypatch):
    for name in ALLOCATOR:
        monkeypatch.delenv(name, raising=False)  # a nanny leaves them in its own process, too
    assert allocator_of_a_worker() == [str(64 * 2**20), str(32 * 2**20)]


@LINUX
def test_what_somebody_has_set_for_the_allocator_stays(monkeypatch):
    for name in ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    with dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1000}):
        assert allocator_of_a_worker() == ["1000", None]


def errors_of(arguments, **kwargs):
    """Return the lines that a script wrote to its standard error."""
    run = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False, **kwargs
    )
    assert run.returncode == 1, run.stderr
    return run.stderr.splitlines()


UNGUARDED = "import kaleidoscope as ks\nks.cluster.local(workers=2, dashboard=False)\n"
GUARDED = "import kaleidoscope as ks\nif __name__ == '__main__':\n    ks.cluster.local(workers=1, dashboard=False)\n"


def test_a_script_without_a_guard_is_told_so_by_its_own_error(tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED)
    lines = errors_of([str(tmp_path / "script.py")])
    assert lines[-1].startswith("kaleidoscope.errors.ResourceError: a worker of a cluster imports the script")
    assert lines[-1].endswith('put the lines that do so under if __name__ == "__main__":')
    assert sum(line.startswith("Traceback") for line in lines) == 1, "the script's, and none of a worker"


@pytest.mark.parametrize("script", [UNGUARDED, GUARDED], ids=["unguarded", "guarded"])
def test_a_script_from_standard_input_is_to_be_saved_as_a_file(script):
    lines = errors_of(["-"], input=script)
    assert lines[-1].startswith("kaleidoscope.errors.ResourceError: a worker of a cluster imports the script")
    assert "no file '<stdin>': save it as one" in lines[-1]
    assert sum(line.startswith("Traceback") for line in lines) == 1


def test_a_script_from_standard_input_may_stay_in_its_process():
    script = UNGUARDED.replace("workers=2", "workers=1, processes=False")
    run = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr


def test_a_script_that_fails_in_a_worker_is_told_what_became_of_it(tmp_path):
    (tmp_path / "script.py").write_text(f"{GUARDED}else:\n    raise OSError('there is no terminal')\n")
    lines = errors_of([str(tmp_path / "script.py")])
    assert "OSError: there is no terminal" in lines
    assert lines[-1].startswith("kaleidoscope.errors.ResourceError: a worker's process ended with exit code 1")


def test_why_a_worker_could_not_start_is_in_the_message():
    with pytest.raises(ResourceError, match=r"did not start.*No module named 'nonsense_of_ours'"):
        cluster.local(workers=1, dashboard=False, preload="nonsense_of_ours")
