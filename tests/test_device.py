"""``device="gpu"``: what has a kernel for it runs in batches where a GPU is; here torch's CPU stands in for it."""

import cv2
import dask
import distributed  # noqa: F401 - first: what is configured around its import is lost with it
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import kaleidoscope as ks
from kaleidoscope import ops, samples
from kaleidoscope.backends.torch import TorchBackend
from kaleidoscope.cli import cli
from kaleidoscope.errors import RecipeError, ResourceError
from kaleidoscope.targets import Targets

SIX = [
    ops.HorizontalFlip(),
    ops.Rotate(limit=15),
    ops.HueSaturationValue(),
    ops.RandomBrightnessContrast(),
    ops.GaussianBlur(),
    ops.GaussNoise(),
]


@pytest.fixture
def here():
    """Let this process have what the ops need; one thread, as small images take longer to hand out than to compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with dask.config.set({"distributed.worker.resources": {"GPU": 1}}):
        yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    """Images of one size, one of them grey, one of another size, and one that is none."""
    small = ks.augment(samples.folder(), ops.Resize(60, 80)).write(tmp_path / "in", format="png").compute()
    assert small.outputs == 6
    cv2.imwrite(str(tmp_path / "in" / "other.png"), np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "in"


def within(one, other):
    """Return the share of values that differ by at most 2 of 255."""
    return float((np.abs(one.astype(int) - other.astype(int)) <= 2).mean())


@pytest.mark.usefixtures("here")
def test_a_bag_is_that_of_the_cpu_but_for_rounding(folder):
    cpu = ks.augment(folder, SIX, seed=7).compute(scheduler="sync")
    gpu = ks.augment(folder, SIX, seed=7, device="gpu").compute(scheduler="sync")
    assert [(r.key, r.variant, r.error is None) for r in gpu] == [(r.key, r.variant, r.error is None) for r in cpu]
    assert [r.lineage for r in gpu] == [r.lineage for r in cpu]
    made = [(one.pixels, other.pixels) for one, other in zip(gpu, cpu, strict=True) if one.pixels is not None]
    assert len(made) >= 6 * 64
    assert min(within(*pair) for pair in made) > 0.995


@pytest.mark.usefixtures("here")
def test_a_write_says_what_made_it_and_is_that_of_another_recipe(folder, tmp_path):
    views = ks.augment(folder, SIX, seed=7, device="gpu")
    report = views.write(tmp_path / "gpu", format="png").compute()
    assert (report.outputs, report.failed) == (64 * (report.inputs - 1), 1)
    rows = report.manifest.compute()
    assert report.counts["upload"] >= 1, "what the GPU did is counted, too"
    assert set(rows["environment"].str.contains(r"torch 2\.\S+ on a gpu")) == {True}
    assert views.write(tmp_path / "gpu", format="png").left == 64  # of the one that is no image
    cpu = ks.augment(folder, SIX, seed=7)
    with pytest.raises(RecipeError, match="its device is 'gpu', this run's is 'cpu'"):
        cpu.write(tmp_path / "gpu", format="png").compute()
    ids = cpu.write(tmp_path / "cpu", format="png").compute().manifest.compute()["recipe_id"]
    assert set(ids) & set(rows["recipe_id"]) == set()


@pytest.mark.usefixtures("here")
def test_targets_are_equal(folder):
    boxes = Targets(boxes=[[10, 12, 50, 40]], classes=["it"], masks={"mask": np.eye(60, 80, dtype=np.uint8)})
    images = ks.read_images(folder).with_targets(lambda key: boxes if "other" not in key else None)
    cpu = ks.augment(images, SIX[:2], seed=7).compute(scheduler="sync")
    gpu = ks.augment(images, SIX[:2], seed=7, device="gpu").compute(scheduler="sync")
    assert [r.targets for r in gpu] == [r.targets for r in cpu]


@pytest.mark.usefixtures("here")
def test_images_of_a_piece_go_there_together(folder, tmp_path, monkeypatch):
    batches = []
    upload = TorchBackend.upload

    def counted(self, images):
        batches.append(len(images))
        return upload(self, images)

    monkeypatch.setattr(TorchBackend, "upload", counted)
    recipe = ops.Sequential(ops.HorizontalFlip(), ops.GaussianBlur())
    ks.augment(folder, recipe, device="gpu").write(tmp_path / "out").compute()
    assert sorted(batches) == [1, 1, 5]  # the grey one, the one of another size, and all others


@pytest.mark.usefixtures("here")
def test_what_has_no_kernel_there_stays_on_the_cpu():
    views = ks.augment(samples.folder(), ops.Sequential(ops.Rotate(), ops.CLAHE(), ops.Rotate()), device="gpu")
    assert "in 4 segments: CPU → GPU: 1 → CPU → GPU: 1" in views.explain()
    assert len(views.compute()) == 6


@pytest.mark.usefixtures("here")
def test_auto_is_the_gpu_where_there_is_one():
    assert ks.augment(samples.folder(), SIX, device="auto").job.device == "gpu"


def test_auto_is_the_cpu_where_there_is_none_and_says_so():
    with pytest.warns(UserWarning, match="device='auto': this process has no GPU, so the CPU does it"):
        views = ks.augment(samples.folder(), SIX, device="auto")
    assert views.job.device == "cpu"


def test_no_gpu_is_said_at_once(tmp_path):
    views = ks.augment(samples.folder(), SIX, device="gpu")
    with pytest.raises(ResourceError, match=r"HorizontalFlip, .* needs GPU=1, and this process has nothing"):
        views.write(tmp_path / "out").compute()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["tpu", "cuda:0", None, "GPU"])
def test_other_devices_are_refused(device):
    with pytest.raises(RecipeError, match="device: expected 'cpu', 'gpu', 'auto', got"):
        ks.augment(samples.folder(), SIX, device=device)


@pytest.mark.usefixtures("here")
def test_the_command_has_it_too(folder, tmp_path):
    ks.dump_recipe(ops.Sequential(ops.HorizontalFlip(), ops.GaussianBlur()), tmp_path / "recipe.yaml")
    words = [
        "augment",
        str(folder),
        str(tmp_path / "out"),
        "--recipe",
        str(tmp_path / "recipe.yaml"),
        "--device",
        "gpu",
    ]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 1, result.output  # one is no image
    rows = ks.read_manifest(tmp_path / "out").compute()
    assert set(rows["environment"].str.contains("on a gpu")) == {True}
