"""Every block of Python in the README, every example and every notebook runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import kaleidoscope as ks
from kaleidoscope import registry
from kaleidoscope.ops.base import Op
from kaleidoscope.ops.choose import Choice

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def beside_photos(tmp_path, monkeypatch):
    """A working folder with a small folder `photos` in it, and one of their masks."""
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("chelsea.jpg", "brick.png"):
        shutil.copy(ks.samples.folder() / name, tmp_path / "photos")
        grey = cv2.imread(str(tmp_path / "photos" / name), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str((tmp_path / "masks" / name).with_suffix(".png")), (grey > 128).astype("uint8"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme_runs_from_top_to_bottom(beside_photos):
    blocks = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert len(list((beside_photos / "augmented").glob("*.jpg"))) == 2 * 64
    assert names["report"].outputs == 0, "the second write found everything there"
    assert len(names["means"]) == 2 * 64
    assert len(list((beside_photos / "labelled").glob("*.mask.png"))) == 2 * 8


FACE_LEFT = """
from kaleidoscope.record import Frame
from kaleidoscope.targets import Targets


class TestFaceLeft(OpTests):
    instances = (FaceLeft(),)

    def test_looks_at_the_boxes(self):
        for box, mirrored in (((0, 0, 5, 5), False), ((15, 0, 20, 5), True)):
            drawn = FaceLeft().sample_params_for(None, Frame(10, 20, 3, "uint8"), Targets(boxes=[box]))
            assert drawn == {"mirrored": mirrored}
"""


def test_an_op_of_ones_own_is_written_and_tested_as_the_document_says(tmp_path):
    blocks = BLOCK.findall((ROOT / "docs" / "own-ops.md").read_text("utf-8"))
    assert len(blocks) == 4
    (tmp_path / "own_ops.py").write_text(blocks[0] + blocks[1] + blocks[2])
    imports = "from own_ops import Fade, FaceLeft, Overexpose\n"
    (tmp_path / "test_own_ops.py").write_text(imports + blocks[3] + FACE_LEFT)
    info = tmp_path / "own_ops-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-ops\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[kaleidoscope.ops]\n" + "".join(f"{name} = own_ops:{name}\n" for name in ("Overexpose", "FaceLeft", "Fade"))
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own_ops.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_readme_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert len(links) >= 4
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_example_augments_a_folder(beside_photos):
    script = ROOT / "examples" / "augment_folder.py"
    done = subprocess.run([sys.executable, script, "photos", "out"], check=True, capture_output=True, text=True)
    assert "dashboard: http://127.0.0.1:" in done.stdout
    assert len(list(Path("out").glob("*.jpg"))) == 2 * 64


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(path, beside_photos):
    cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells), "outputs are not committed"
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), path.name, "exec"), names)
    assert names["report"].outputs == 6 * 64


def loaded(path):
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestTheCatalogue:
    """It is what ``python docs/make_catalogue.py`` writes."""

    make = loaded(ROOT / "docs" / "make_catalogue.py")

    def test_the_page_is_up_to_date(self):
        assert (ROOT / "docs" / "catalogue.md").read_text("utf-8") == self.make.text(), "run docs/make_catalogue.py"

    def test_the_pictures_are_up_to_date(self):
        made = dict(self.make.pictures())
        folder = ROOT / "docs" / "catalogue"
        assert {path.stem for path in folder.iterdir()} == set(made), "run docs/make_catalogue.py"
        for name, picture in made.items():
            there = cv2.imread(str(folder / f"{name}.jpg"))[..., ::-1].astype(float)
            wanted = np.asarray(picture, dtype=float)
            assert there.shape == wanted.shape, name
            # JPEG; of other noise or other draws the mean differs by 10 and more.
            assert np.abs(cv2.blur(there, (5, 5)) - cv2.blur(wanted, (5, 5))).mean() < 5, name

    def test_every_op_has_a_picture_and_every_link_leads_somewhere(self):
        page = (ROOT / "docs" / "catalogue.md").read_text("utf-8")
        links = re.findall(r"\]\((catalogue/[^)]*)\)", page)
        assert all((ROOT / "docs" / link).is_file() for link in links)
        choices = {"OneOf", "SomeOf", "Sometimes", "Apply"}  # what they do depends on what they are given
        pictured = {Path(link).stem for link in links}
        ours = {name for name in registry.builtin_names() if issubclass(registry.find_op(name), Op)}
        assert {name for name in ours if not issubclass(registry.find_op(name), Choice)} - choices <= pictured
