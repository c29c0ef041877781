import sys
import types

import numpy as np
import pytest
import torch

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
        if all(int(image.max()) == 0 for image in images):
            raise RuntimeError("nvjpeg: status 6")
        files = [JPEG.encode(image.permute(1, 2, 0).contiguous().numpy()) for image in images]
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


@pytest.mark.parametrize(("channels", "format"), [(1, "jpg"), (3, "png"), (4, "webp")])
def test_what_its_encoder_cannot_do_is_left_to_the_cpu(torchvision, channels, format):
    assert encode_there(batch(channels), Encoder(format)) is None
    assert torchvision == []


def test_other_devices_are_left_to_the_cpu():
    assert encode_there(batch(), JPEG) is None


def test_without_torchvision_it_is_left_to_the_cpu(torchvision, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.io", None)
    assert encode_there(batch(), JPEG) is None


def test_its_failures_are_ours(torchvision):
    with pytest.raises(OpError, match="encode: the device's JPEG encoder failed: nvjpeg: status 6"):
        encode_there(torch.zeros_like(batch()), JPEG)
