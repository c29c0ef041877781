import sys
import types

import cv2
import dask
import distributed  # noqa: F401 - what it configures would go with a setting that was made before it came
import numpy as np
import pytest
import torch

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.codecs import Encoder, decode
from kaleidoscope.codecs import device as device_module
from kaleidoscope.codecs.device import encode_there
from kaleidoscope.errors import OpError

JPEG = Encoder("jpg", quality=83)


@pytest.fixture
def torchvision(monkeypatch):
    """Stand in for torchvision, whose encoder needs a GPU, by what its documents say that it does."""
    module, calls = types.ModuleType("torchvision.io"), []

    def encode_jpeg(images, quality=75):
        calls.append((len(images), quality))
        if any(int(image.max()) == 0 for image in images):
            raise RuntimeError("nvjpeg: status 6")
        jpeg = Encoder("jpg", quality=quality)
        files = [jpeg.encode(image.permute(1, 2, 0).contiguous().numpy()) for image in images]
        return [torch.tensor(np.frombuffer(file, np.uint8)) for file in files]

    module.encode_jpeg = encode_jpeg
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.io", module)
    monkeypatch.setattr(device_module, "SERVED", {"cpu"})
    device_module._torchvision.cache_clear()
    yield calls
    device_module._torchvision.cache_clear()


def batch(channels=3, dtype=torch.uint8):
    return torch.arange(2 * channels * 16 * 24, dtype=torch.int32).view(2, channels, 16, 24).to(dtype)


def test_a_batch_is_encoded_in_one_call(torchvision):
    files = encode_there(batch(), JPEG)
    assert torchvision == [(2, 83)]
    assert [decode(file, key="a.jpg")[0].shape for file in files] == [(16, 24, 3)] * 2


@pytest.mark.parametrize(
    ("channels", "format", "dtype"),
    [(1, "jpg", torch.uint8), (3, "png", torch.uint8), (4, "webp", torch.uint8), (3, "jpg", torch.uint16)],
)
def test_what_its_encoder_cannot_do_is_left_to_the_cpu(torchvision, channels, format, dtype):
    assert encode_there(batch(channels, dtype), Encoder(format)) is None
    assert torchvision == []


def test_other_devices_are_left_to_the_cpu():
    assert encode_there(batch(), JPEG) is None


def test_without_torchvision_it_is_left_to_the_cpu(torchvision, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.io", None)
    assert encode_there(batch(), JPEG) is None


def test_its_failures_are_ours(torchvision):
    with pytest.raises(OpError, match="encode: the device's JPEG encoder failed: nvjpeg: status 6"):
        encode_there(torch.zeros_like(batch()), JPEG)


@pytest.fixture
def photos(tmp_path):
    """Four in colour, and a grey one."""
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), rng.integers(1, 256, (16, 24, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "photos" / "grey.png"), rng.integers(1, 256, (16, 24), np.uint8))
    return tmp_path / "photos"


def written(photos, target):
    """Return the report of a write on a device, and its files."""
    with dask.config.set({"distributed.worker.resources": {"GPU": 1}}):
        recipe = [ops.HorizontalFlip(), ops.GaussianBlur()]
        report = ks.augment(photos, recipe, seed=7, device="gpu").write(target, quality=83).compute()
    return report, {path.name: path.read_bytes() for path in target.glob("*.jpg")}


def test_a_write_takes_the_files_of_the_device(torchvision, photos, tmp_path, monkeypatch):
    there, files = written(photos, tmp_path / "there")
    assert (there.outputs, there.failed) == (20, 0)
    assert there.counts["encoded_there"] == 4 * 3, "the variants that are made there, in colour"
    assert there.counts["encode"] == 20 - 4 * 3
    assert {quality for _, quality in torchvision} == {83}
    assert there.verify(checksums=True).ok
    monkeypatch.setattr(device_module, "SERVED", set())
    here, same = written(photos, tmp_path / "here")
    assert here.counts.get("encoded_there", 0) == 0
    assert same == files, "the stand-in's encoder is the CPU's"


def test_a_device_whose_encoder_fails_costs_the_variants_that_it_fails_for(torchvision, photos, tmp_path):
    cv2.imwrite(str(photos / "black.png"), np.zeros((16, 24, 3), np.uint8))
    report, files = written(photos, tmp_path / "out")
    assert (report.outputs, report.failed) == (21, 1)
    assert "black__original.png.jpg" in files
    errors = report.errors
    assert (errors["key"].tolist(), errors["step"].tolist()) == (["black.png"], ["encode"])
    assert "nvjpeg: status 6" in errors["error"][0]
