import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest
from PIL import Image

import kaleidoscope as ks
from kaleidoscope import cli, demo
from kaleidoscope.errors import StoreError
from kaleidoscope.report import Report

SCRIPT = str(Path(sys.executable).with_name("kaleidoscope"))
KEYS = ["astronaut.jpg", "brick.png", "chelsea.jpg", "coffee.jpg", "hubble_deep_field.jpg", "rocket.jpg"]


def run(*command, cwd=None):
    """Run a command as a shell would; nothing of it may be a traceback."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, cwd=cwd)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def kaleidoscope(*args, cwd=None):
    return run(SCRIPT, *args, cwd=cwd)


class TestUsage:
    def test_version(self):
        done = kaleidoscope("--version")
        assert done.returncode == 0
        assert ks.__version__ in done.stdout

    @pytest.mark.parametrize("args", [["--help"], ["demo", "--help"]], ids=" ".join)
    def test_help(self, args):
        done = kaleidoscope(*args)
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: kaleidoscope")
        assert "demo" in done.stdout
        assert done.stderr == ""

    def test_as_a_module(self):
        done = run(sys.executable, "-m", "kaleidoscope", "--version")
        assert done.returncode == 0
        assert ks.__version__ in done.stdout
        assert run(sys.executable, "-m", "kaleidoscope", "--help").stdout.startswith("Usage: python -m kaleidoscope")

    def test_nothing_asked_for_is_answered_with_help(self):
        done = kaleidoscope()
        assert done.returncode == 2
        assert "demo" in done.stdout + done.stderr

    @pytest.mark.parametrize("args", [["dmo"], ["--nothing"], ["demo", "--nothing"], ["demo", "a", "b"]], ids=" ".join)
    def test_bad_usage_is_exit_code_2(self, args, tmp_path):
        done = kaleidoscope(*args, cwd=tmp_path)
        assert done.returncode == 2
        assert "Usage: kaleidoscope" in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_a_file_for_the_folder_is_bad_usage(self, tmp_path):
        (tmp_path / "file").write_text("")
        done = kaleidoscope("demo", str(tmp_path / "file"))
        assert done.returncode == 2
        assert "is a file" in done.stderr

    def test_a_folder_that_cannot_be_is_one_line_and_exit_code_2(self, tmp_path):
        (tmp_path / "file").write_text("")
        done = kaleidoscope("demo", str(tmp_path / "file/below"))
        assert done.returncode == 2
        assert [line[:14] for line in done.stderr.splitlines() if line][-1:] == ["kaleidoscope: "]


class TestExitCodes:
    """Those that a sound demo never ends with."""

    @pytest.fixture
    def ends_with(self, monkeypatch):
        def code(outcome):
            def pretend(folder, source):
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

            monkeypatch.setattr(demo, "run", pretend)
            monkeypatch.setattr(sys, "argv", ["kaleidoscope", "demo"])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            return ended.value.code

        return code

    @pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 1), (7, 1)])
    def test_tell_whether_images_failed(self, ends_with, failed, code):
        assert ends_with(Report("out", 7, 6, 0, failed, 1, 1.0, {})) == code

    def test_an_error_of_ours_is_one_line(self, ends_with, capsys):
        assert ends_with(StoreError("cannot write out", key="a.jpg")) == 2
        assert capsys.readouterr() == ("", "kaleidoscope: a.jpg: cannot write out\n")

    def test_another_error_is_a_defect_and_shows_itself(self, ends_with):
        with pytest.raises(ZeroDivisionError):
            ends_with(ZeroDivisionError())


class Demo(NamedTuple):
    folder: Path
    done: subprocess.CompletedProcess[str]

    def state(self):
        """Return when each file was changed, and how large it is."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "here it is"
    return Demo(folder, kaleidoscope("demo", str(folder)))


class TestDemo:
    def test_ends_well_and_says_what_it_did(self, made):
        assert made.done.returncode == 0, made.done.stderr
        assert re.search(r"^Dashboard: http://127\.0\.0\.1:\d+/status$", made.done.stdout, re.MULTILINE)
        assert re.search(r"^ *inputs  6$", made.done.stdout, re.MULTILINE)
        assert re.search(r"^ *outputs  384 \(", made.done.stdout, re.MULTILINE)
        assert re.search(r"^ *failed  0$", made.done.stdout, re.MULTILINE)
        assert made.done.stderr == ""

    def test_makes_384_images_that_open(self, made):
        files = [path for path in (made.folder / "variants").rglob("*") if path.suffix == ".jpg"]
        assert len(files) == 384
        shapes = {}
        for path in files:
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            shapes.setdefault(path.name.split("__")[0], set()).add(image.shape)
        assert sorted(shapes) == [Path(key).stem for key in KEYS]
        assert all(len(found) == 1 for found in shapes.values()), shapes

    def test_originals_are_the_photographs_and_variants_differ_from_them(self, made):
        for key in KEYS:
            suffix = "" if key.endswith(".jpg") else ".png"
            stem = Path(key).stem
            original = cv2.imread(str(made.folder / f"variants/{stem}__original{suffix}.jpg"), cv2.IMREAD_UNCHANGED)
            before = cv2.imread(str(ks.samples.folder() / key), cv2.IMREAD_UNCHANGED)
            assert cv2.absdiff(original, before).mean() < 3, "JPEG again, and no more"
            flipped = cv2.imread(str(made.folder / f"variants/{stem}__hflip{suffix}.jpg"), cv2.IMREAD_UNCHANGED)
            assert cv2.absdiff(flipped, before[:, ::-1]).mean() < 3
            assert cv2.absdiff(flipped, before).mean() > 3

    def test_has_a_manifest_row_for_each(self, made):
        rows = ks.read_manifest(made.folder / "variants").compute()
        assert len(rows) == 384
        assert set(rows["status"]) == {"ok"}
        assert sorted(set(rows["key"])) == KEYS
        assert set(rows.groupby("key")["variant"].nunique()) == {64}
        for row in rows.itertuples():
            assert (made.folder / "variants" / row.output).stat().st_size == row.bytes

    def test_has_a_contact_sheet_that_opens(self, made):
        with Image.open(made.folder / "contact-sheet.png") as sheet:
            sheet.load()
            assert sheet.width > 8 * 160
            assert sheet.height > 6 * 80
            assert len(sheet.getcolors(2**24)) > 10_000

    def test_leaves_nothing_else(self, made):
        assert {path.name for path in made.folder.iterdir()} == {"variants", "contact-sheet.png"}
        assert not list((made.folder / "variants/_kaleidoscope").rglob("unfinished/*"))

    def test_second_run_says_so_and_changes_nothing(self, made):
        before = made.state()
        done = kaleidoscope("demo", str(made.folder))
        assert done.returncode == 0
        assert "Everything is already there" in done.stdout
        assert re.search(r"^ *outputs  0$", done.stdout, re.MULTILINE)
        assert re.search(r"^ *skipped  384 were there already$", done.stdout, re.MULTILINE)
        assert "Dashboard" not in done.stdout
        after = made.state()
        changed = {path for path in before | after if before.get(path) != after.get(path)}
        assert not changed

    def test_makes_again_what_is_missing(self, made):
        sheet = made.folder / "contact-sheet.png"
        before = made.state()
        content = sheet.read_bytes()
        sheet.unlink()
        done = run(sys.executable, "-m", "kaleidoscope", "demo", made.folder.name, cwd=made.folder.parent)
        assert done.returncode == 0
        assert sheet.read_bytes() == content
        after = made.state()
        changed = {Path(p).name for p in before | after if before.get(p) != after.get(p)}
        assert {name for name in changed if not name.startswith("lease-")} == {"contact-sheet.png"}
