import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kaleidoscope import ops
from kaleidoscope.backends.torch import TorchBackend
from kaleidoscope.ops.base import Op, op
from kaleidoscope.ops.device import runs_on_device
from kaleidoscope.record import Frame
from kaleidoscope.testing import DeviceTests

ROOT = Path(__file__).parents[2]


def pixels(frame, seed=0):
    values = np.random.default_rng(seed).random(frame.shape) * frame.max_value
    return values.astype(frame.dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_pixels_come_back_as_they_went(dtype, channels):
    backend, frame = TorchBackend("cpu"), Frame(5, 7, channels, dtype)
    images = [pixels(frame, seed) for seed in range(3)] + [pixels(Frame(2, 2, channels, dtype))]
    for image in images:
        image.flags.writeable = False
    places = backend.upload(images)
    assert [place.frame for place in places] == [Frame.of(image) for image in images]
    for came, went in zip(backend.download(places[::-1]), images[::-1], strict=True):
        np.testing.assert_array_equal(came, went)
        assert came.dtype == went.dtype
    assert (backend.counts["upload"], backend.counts["download"]) == (2, 2)


def test_a_batch_is_as_many_images_as_were_allowed():
    frame = Frame(512, 512, 3, "uint8")
    assert TorchBackend("cpu").batch_size(frame) == 85
    assert TorchBackend("cpu", batch_bytes=3 * frame.nbytes + 1).batch_size(frame) == 3
    assert TorchBackend("cpu", batch_bytes=1).batch_size(frame) == 1


@op
class Brighter(ops.InvertImg):
    """Do something else than its parent."""

    short_name = "brighter"

    def kernel(self, src, params, out):
        np.copyto(out, src // 2 + 128)


@op
class Own(Op):
    """Have both kernels."""

    short_name = "own"

    def kernel(self, src, params, out):
        np.copyto(out, src[::-1])

    def device_kernel(self, batch, params):
        return batch.flip(2)


@pytest.mark.parametrize(
    ("part", "runs"),
    [
        (ops.GaussianBlur(), True),
        (ops.CLAHE(), False),
        (ops.Rotate(15), True),
        (ops.Rotate(15, interpolation="lanczos4"), False),
        (ops.HorizontalFlip(), True),
        (ops.Resize(9, 9, interpolation="lanczos4"), True),
        (ops.CoarseDropout(), True),
        (ops.CoarseDropout(fill="random"), False),
        (ops.CoarseDropout(fill="inpaint_ns"), False),
        (ops.ToGray(), True),
        (ops.ToGray(method="pca"), False),
        (ops.OneOf(ops.GaussianBlur(), ops.Sequential(ops.Rotate(9), ops.InvertImg())), True),
        (ops.OneOf(ops.GaussianBlur(), ops.Sequential(ops.Rotate(9), ops.CLAHE())), False),
        (ops.Sometimes(ops.SomeOf(ops.Blur(), ops.CLAHE(), n=1)), False),
        (ops.RandAugment(), True),
        (ops.RandAugment(interpolation="lanczos4"), False),
        (ops.Equalize(by_channels=False), False),
        (Own(), True),
        (Brighter(), False),
    ],
    ids=repr,
)
def test_an_op_says_whether_it_runs_on_a_device(part, runs):
    assert runs_on_device(part) == runs


def test_that_needs_no_torch_and_the_backend_says_what_to_install():
    code = """
import sys
sys.modules["torch"] = None
import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.ops.device import runs_on_device
print(runs_on_device(ops.GaussianBlur()))
try:
    import kaleidoscope.backends.torch
except ks.errors.ResourceError as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "True",
        "ops on a device need torch, which is not installed: pip install 'kaleidoscope[gpu]', or device='cpu'",
    ], done.stderr


class TestOwn(DeviceTests):
    instances = (Own(),)

    def takes(self, op, frame):
        return frame.dtype != "uint16"  # torch does not flip it


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch sees none")
class TestOnTheGpu(DeviceTests):
    device = "cuda"
    instances = (ops.Rotate(40), ops.HueSaturationValue(), ops.GaussianBlur(), ops.GaussNoise(), ops.Resize(40, 30))

    def test_memory_is_given_back(self):
        frame = Frame(512, 512, 3, "uint8")
        backend = TorchBackend(self.device)
        before = torch.cuda.memory_allocated()
        places = backend.upload([pixels(frame)] * 4)
        assert torch.cuda.memory_allocated() >= before + 4 * frame.nbytes
        del places
        assert torch.cuda.memory_allocated() == before
