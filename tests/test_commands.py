"""Every subcommand, run as a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zlib
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from PIL import Image

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.cli import cli, main


class Done(NamedTuple):
    stdout: str
    stderr: str


def checked(code, done, ok):
    assert code in ok, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def work(tmp_path):
    """A folder with two photographs and a recipe."""
    (tmp_path / "photos").mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), pixels)
    ks.dump_recipe([ops.HorizontalFlip(), ops.Rotate(limit=15)], tmp_path / "recipe.yaml")
    return tmp_path


@pytest.fixture
def run(work, monkeypatch, capsys):
    """Return a function that runs a command in this process, which knows its libraries already."""
    monkeypatch.chdir(work)

    def run(*words, ok=(0,)):
        with warnings.catch_warnings(action="default"), pytest.raises(SystemExit) as ended:
            main(lambda: cli([str(word) for word in words], prog_name="kaleidoscope"))
        return checked(ended.value.code, Done(*capsys.readouterr()), ok)

    return run


@pytest.fixture
def process(work):
    """Return a function that runs a command as a user does."""

    def process(*words, ok=(0,), **environment):
        command = [sys.executable, "-m", "kaleidoscope", *map(str, words)]
        env = {**os.environ, **environment}
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, env=env)
        return checked(done.returncode, Done(done.stdout, done.stderr), ok)

    return process


def test_augment_writes_reports_and_resumes(work, process):
    first = process("augment", "photos", "out", "-r", "recipe.yaml", "--seed", 7, "--format", "png")
    assert "outputs  8" in first.stdout
    assert len(list((work / "out").glob("*.png"))) == 8
    again = process("augment", "photos", "out", "-r", "recipe.yaml", "--seed", 7, "--format", "png", "--json")
    found = json.loads(again.stdout)
    assert (found["outputs"], found["skipped"], found["failed"]) == (0, 8, 0)


@pytest.mark.parametrize("column", ["url", "file"])
def test_an_index_is_read_with_its_root_and_column(work, run, column):
    (work / "lists").mkdir()
    (work / "lists" / "keys.csv").write_text(f"{column}\n1.png\n0.png\n")
    index = ("lists/keys.csv", "--root", "photos", *(("--key-column", "file") if column == "file" else ()))
    how = ("-r", "recipe.yaml")
    assert "outputs  8" in run("estimate", index[0], "out", *how, *index[1:]).stdout
    run("augment", index[0], "out", *how, *index[1:])
    assert sorted(ks.read_manifest(work / "out").compute()["key"].unique()) == ["0.png", "1.png"]
    run("preview", index[0], "sheet.png", *how, *index[1:])
    refused = run("augment", index[0], "out", *how, "--key-column", "path", ok=(2,)).stderr
    assert "path" in refused


@pytest.mark.parametrize("command", ["augment", "estimate", "preview"])
def test_help_names_all_that_images_are_read_from(run, command):
    told = " ".join(run(command, "--help").stdout.split())
    for one in ("folder", "glob", "archive", "index", "--root", "--key-column"):
        assert one in told


def test_what_python_calls_by_keywords_the_command_line_calls_by_options(work, run):
    run("augment", "photos", "out", "-r", "recipe.yaml")
    other = run("augment", "photos", "out", "-r", "recipe.yaml", "--seed", 3, ok=(2,)).stderr
    assert "overwrite=True, --overwrite on the command line" in other
    none = run("augment", "photos", "out2", "-r", "recipe.yaml", "--only-failed", ok=(2,)).stderr
    assert "--only-failed on the command line" in none
    both = run("augment", "photos", "out", "-r", "recipe.yaml", "--only-failed", "--overwrite", ok=(2,)).stderr
    assert "on the command line --overwrite and --only-failed" in both


def test_augment_writes_shards_and_replay_finds_what_lies_in_them(work, run):
    shards = ("--format", "png", "--layout", "webdataset", "--shard-bytes", "2 MiB")
    assert "outputs  8" in run("augment", "photos", "out", "-r", "recipe.yaml", *shards).stdout
    assert [path.suffix for path in (work / "out").iterdir() if path.is_file()] == [".tar"]
    assert "8 are there already" in run("estimate", "photos", "out", "-r", "recipe.yaml", *shards).stdout
    rows = ks.read_manifest(work / "out").compute()
    run("replay", "out", rows["output"][3], "again.png")
    assert zlib.crc32((work / "again.png").read_bytes()) == rows["checksum"][3]
    other = run("augment", "photos", "out", "-r", "recipe.yaml", "--format", "png", ok=(2,))
    assert "layout 'webdataset'" in other.stderr


def test_augment_and_preview_take_masks_along(work, run):
    (work / "masks").mkdir()
    for number in range(2):
        cv2.imwrite(str(work / "masks" / f"{number}.png"), np.full((24, 32), number + 1, np.uint8))
    run("augment", "photos", "out", "-r", "recipe.yaml", "--masks", "masks", "--format", "png")
    assert len(list((work / "out").glob("*.mask.png"))) == 8
    run("preview", "photos", "with.png", "-r", "recipe.yaml", "--masks", "masks")
    run("preview", "photos", "without.png", "-r", "recipe.yaml")
    assert (work / "with.png").read_bytes() != (work / "without.png").read_bytes()
    refused = run("augment", "photos", "out2", "-r", "recipe.yaml", "--masks", "recipe.yaml", ok=(2,))
    assert refused.stderr.startswith("kaleidoscope: ")


def test_augment_with_a_broken_image_exits_with_1_and_report_says_why(work, run):
    (work / "photos" / "bad.jpg").write_text("no image")
    run("augment", "photos", "out", "-r", "recipe.yaml", ok=(1,))
    found = run("report", "out", "--json", ok=(1,))
    assert json.loads(found.stdout)["failed"] == 1
    assert "decode" in run("report", "out", ok=(1,)).stdout


def test_augment_on_error_raise_stops_with_one_line(work, process):
    (work / "photos" / "bad.jpg").write_text("no image")
    done = process("augment", "photos", "out", "-r", "recipe.yaml", "--on-error", "raise", ok=(2,))
    assert done.stderr.startswith("kaleidoscope: bad.jpg: decode:")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("augment", "nowhere", "out", "-r", "recipe.yaml"), "there is nothing there"),
        (("augment", "photos", "photos/out", "-r", "recipe.yaml"), "lies in, the source"),
        (("augment", "photos", "out", "-r", "none.yaml"), "cannot read the recipe"),
        (("augment", "photos", "out"), "Missing option '--recipe'"),
        (("augment", "photos", "out", "-r", "recipe.yaml", "--format", "gif"), "expected one of the formats"),
        (("augment", "photos", "out", "-r", "recipe.yaml", "--scheduler", "tcp://127.0.0.1:9"), "no Dask scheduler"),
        (("info", "--scheduler", "tcp://127.0.0.1:9"), "no Dask scheduler"),
        (("info", "--scheduler", "nonsense://"), "no Dask scheduler"),
        (
            ("augment", "empty", "out", "-r", "recipe.yaml"),
            "there are no images in empty: looked for files that end in",
        ),
        (("augment", "photos/*.gif", "out", "-r", "recipe.yaml"), "files whose names fit this pattern"),
        (
            ("augment", "photos", "", "-r", "recipe.yaml"),
            "expected the URL or path of a folder or bucket, got an empty",
        ),
        (("augment", "photos", "recipe.yaml/out", "-r", "recipe.yaml"), "a file stands where a folder should"),
        (("augment", "photos", "out", "-r", "newer.yaml"), "newer.yaml:1: this recipe is of version 9"),
        (("augment", "photos", "no-such-protocol://out", "-r", "recipe.yaml"), "Protocol not known: no-such-protocol"),
        (("preview", "photos", "recipe.yaml/sheet.png", "-r", "recipe.yaml"), "recipe.yaml"),
        (("report", "photos"), "no manifest"),
        (("ops", "Rotat"), "Did you mean 'Rotate'"),
        (("nonsense",), "No such command"),
    ],
)
def test_bad_usage_is_one_answer_and_exit_code_2(work, run, process, words, message):
    (work / "empty").mkdir()
    (work / "newer.yaml").write_text("kaleidoscope: 9\nrecipe: [Quantum]\n")
    before = sorted(work.iterdir())
    how = process if "--scheduler" in words else run  # a Client that found nothing stays the process's own
    assert message in how(*words, ok=(2,)).stderr
    assert sorted(work.iterdir()) == before, "something was left"


MINE = """
import numpy as np

def breaks_on_one(image):
    if image[0, 0, 0] == 85:
        raise LookupError("that one")
    return image

def gives_up(image):
    raise SystemExit(7)

def makes_floats(image):
    return image / 255
"""


@pytest.mark.parametrize(
    ("function", "failed", "message"),
    [
        ("breaks_on_one", 1, "1 x apply: OpError: Apply('mine:breaks_on_one') raised LookupError: that one (0.png)"),
        ("gives_up", 5, "5 x apply: OpError: Apply('mine:gives_up') raised SystemExit: 7 (0.png, 1.png, 2.png, and 2 "),
        (
            "makes_floats",
            5,
            "expected (24, 32, 3) uint8 to come back, got (24, 32, 3) float64; let the function return",
        ),
    ],
)
def test_a_function_that_fails_costs_its_own_outputs_and_report_names_the_images(
    work, run, process, function, failed, message
):
    for number in range(5):
        cv2.imwrite(str(work / "photos" / f"{number}.png"), np.full((24, 32, 3), 85 + number, np.uint8))
    (work / "mine.py").write_text(MINE)
    (work / "mine.yaml").write_text(f"kaleidoscope: 1\nrecipe: [Apply: {{fn: 'mine:{function}'}}]\n")
    words = ("augment", "photos", "out", "-r", "mine.yaml", "--allow-functions")
    path = os.pathsep.join([str(work), os.environ.get("PYTHONPATH", "")])
    done = process(*words, ok=(1,), PYTHONPATH=path)
    assert f"outputs  {10 - failed}" in done.stdout
    assert f"failed  {failed} input{'s' * (failed != 1)}, see: kaleidoscope report {work}/out" in done.stdout
    assert ".errors" not in done.stdout
    assert message in run("report", "out", ok=(1,)).stdout
    (found,) = json.loads(run("report", "out", "--json", ok=(1,)).stdout)["errors"]
    assert (found["step"], found["variants"], found["inputs"]) == ("apply", failed, failed)
    assert found["keys"] == ["0.png", "1.png", "2.png"][:failed]


def test_augment_says_where_only_a_first_page_was_taken(work, run):
    pages = [Image.new("L", (32, 24), value) for value in (10, 200)]
    pages[0].save(work / "photos" / "scan.tiff", save_all=True, append_images=pages[1:])
    done = run("augment", "photos", "out", "-r", "recipe.yaml")
    assert "1 input of several pages or frames: the first was taken" in done.stdout


def test_augment_on_a_cluster(run):
    with ks.cluster.local(workers=1, dashboard=False) as cluster:
        done = run(
            "augment",
            "photos",
            "out",
            "-r",
            "recipe.yaml",
            "--scheduler",
            cluster.scheduler_address,
            "--json",
        )
    assert json.loads(done.stdout)["outputs"] == 8


def test_explain(run):
    assert "4 variants of each image" in run("explain", "-r", "recipe.yaml").stdout
    found = json.loads(run("explain", "-r", "recipe.yaml", "--json").stdout)
    assert found["variants"] == ["original", "hflip", "hflip-rotate", "rotate"]


def test_explain_and_preview_know_the_device(work, run):
    assert "CPU → GPU: 1" in run("explain", "-r", "recipe.yaml", "--device", "gpu").stdout
    refused = run("preview", "photos", "sheet.png", "-r", "recipe.yaml", "--device", "gpu", ok=(2,))
    assert "needs GPU=1, and this process has nothing" in refused.stderr
    with ks.cluster.local(workers=1, gpus=1, dashboard=False) as cluster:
        run(
            "preview",
            "photos",
            "sheet.png",
            "-r",
            "recipe.yaml",
            "--device",
            "gpu",
            "--scheduler",
            cluster.scheduler_address,
        )
    assert cv2.imread(str(work / "sheet.png")) is not None


def test_preview(work, run):
    run("preview", "photos", "sheet.png", "-r", "recipe.yaml", "-n", 1)
    assert cv2.imread(str(work / "sheet.png")) is not None


def test_ops(run):
    assert "Rotate" in run("ops").stdout
    assert "limit" in run("ops", "Rotate").stdout
    assert json.loads(run("ops", "--json").stdout)["Rotate"]


def test_replay_makes_an_output_again(work, run):
    run("augment", "photos", "out", "-r", "recipe.yaml", "--format", "png")
    run("replay", "out", "1__hflip-rotate.png", "again.png")
    assert (work / "again.png").read_bytes() == (work / "out" / "1__hflip-rotate.png").read_bytes()
    shutil.move(work / "photos", work / "moved")
    run("replay", "out", "1__rotate.png", "moved.png", "--source", "moved")
    assert (work / "moved.png").read_bytes() == (work / "out" / "1__rotate.png").read_bytes()
    assert "has no output" in run("replay", "out", "none.png", "x.png", ok=(2,)).stderr


def test_info(run):
    assert "opencv-python" in run("info").stdout
    found = json.loads(run("info", "--json").stdout)
    assert found["versions"]["kaleidoscope"] == ks.__version__
    assert found["dask"] is None


def test_info_shows_settings_and_mistakes_in_them(process):
    variables = {"DASK_KALEIDOSCOPE__PROGRESS": "False", "DASK_KALEIDOSCOPE__MAX_PIXEL": "5"}
    found = json.loads(process("info", "--json", **variables).stdout)["settings"]
    assert (found["progress"], found["max-pixel"]) == (False, 5)
    assert "Did you mean 'max-pixels'" in found["mistake"]


def test_info_of_a_cluster(run):
    with ks.cluster.local(workers=1, threads_per_worker=2, dashboard=False) as cluster:
        words = ("info", "--scheduler", cluster.scheduler_address, "--json")
        found = json.loads(run(*words).stdout)["dask"]
    assert found == {
        "scheduler": cluster.scheduler_address,
        "workers": 1,
        "threads": 2,
        "versions that differ": {},
    }


@pytest.mark.parametrize("command", ["", "augment", "demo", "explain", "preview", "ops", "replay", "report", "info"])
def test_help_is_there(run, command):
    words = [command, "--help"] if command else ["--help"]
    assert "Usage:" in run(*words).stdout


def test_completion_of_the_shell(work):
    environment = {**os.environ, "_KALEIDOSCOPE_COMPLETE": "bash_source"}
    command = [shutil.which("kaleidoscope", path=os.path.dirname(sys.executable)) or "kaleidoscope"]  # noqa: PTH120
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=work)
    assert "complete" in done.stdout


WAITS = """
import time
from pathlib import Path

def waits(image):
    while len(list(Path("out/_kaleidoscope/manifest").glob("*"))) >= 2 and not Path("go").exists():
        time.sleep(0.01)
    return image
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_repeated_it_goes_on(work, run, how, monkeypatch):
    """From its second part on it waits until it has been stopped."""
    for number in range(2, 40):
        shutil.copy(work / "photos" / "0.png", work / "photos" / f"{number}.png")
    (work / "waits.py").write_text(WAITS)
    monkeypatch.syspath_prepend(work)
    monkeypatch.setenv("PYTHONPATH", str(work), prepend=os.pathsep)
    ks.dump_recipe([ops.Apply("waits:waits"), ops.HorizontalFlip(), *[ops.GaussNoise()] * 4], work / "recipe.yaml")
    words = ["augment", "photos", "out", "-r", "recipe.yaml", "--allow-functions", "--format", "png"]
    with subprocess.Popen([sys.executable, "-m", "kaleidoscope", *words], stderr=subprocess.PIPE, text=True) as child:
        parts = work / "out" / "_kaleidoscope" / "manifest"
        while child.poll() is None and len(list(parts.glob("*"))) < 2:
            time.sleep(0.01)
        child.send_signal(how)
        (work / "go").touch()
        said = child.communicate(timeout=60)[1]
    if how == signal.SIGINT:
        assert child.returncode == 130
        assert "the same command goes on" in said
        assert "Traceback" not in said
    done = run(*words, "--json")
    found = json.loads(done.stdout)
    assert found["skipped"] > 0
    assert found["outputs"] + found["skipped"] == 40 * 64
