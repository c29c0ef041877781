"""What a write costs: applications and buffers are counted, never timed."""

import tracemalloc

import numpy as np
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.job import Job
from kaleidoscope.ops.base import Geometric
from kaleidoscope.randomness import stream
from kaleidoscope.record import Frame

#: The photo itself, one buffer at each of the six ops of a path, and one to swap channels in for the encoder.
ALIVE = 8


def test_one_image_and_six_ops_take_1_decode_63_applications_and_64_encodes(make_photos, augmented, tmp_path):
    report = augmented(make_photos(tmp_path / "photos", 1)).write(tmp_path / "out").compute()
    counts = dict(report.counts)
    assert counts.pop("decode") == 1
    assert counts.pop("encode") == 64
    assert counts.pop("buffer") <= ALIVE - 1
    assert sum(counts.values()) == 63
    # Under the six: one flip; rotations alone and after it, one warp each; the other 60 are kernels.
    assert counts == {"permutation": 1, "warp": 2, "kernel": 60}


def test_sample_applies_only_what_leads_to_it(make_photos, augmented, tmp_path):
    source = make_photos(tmp_path / "photos", 1)
    report = augmented(source).sample(1).write(tmp_path / "out").compute()
    assert report.counts["encode"] == 1
    assert sum(report.counts[how] for how in ("permutation", "warp", "kernel") if how in report.counts) <= 6


def test_failed_image_costs_no_application(tmp_path, augmented):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"no image")
    report = augmented(tmp_path / "photos").write(tmp_path / "out").compute()
    assert set(report.counts) <= {"decode"}


def test_fifty_images_in_one_block_use_the_same_buffers(make_photos, augmented, tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "block_images", 50)
    source = make_photos(tmp_path / "photos", 50)
    report = augmented(source).write(tmp_path / "out").compute(scheduler="sync")
    assert len(list((tmp_path / "out" / "_kaleidoscope" / "manifest").iterdir())) == 1
    assert (report.counts["decode"], report.counts["encode"]) == (50, 3200)
    assert report.counts["buffer"] <= ALIVE - 1


def temporaries(shape):
    """Return the most bytes that an op of the six allocates by itself while it fills a buffer it was given."""
    rng = np.random.default_rng(0)
    src, out = rng.integers(0, 256, shape, dtype=np.uint8), np.empty(shape, np.uint8)
    most = 0
    kernels = [
        ops.HueSaturationValue(),
        ops.RandomBrightnessContrast(),
        ops.GaussianBlur(),
        ops.GaussNoise(),
    ]
    for op in kernels:
        assert not isinstance(op, Geometric)
        params = op.sample_params(stream(7, "a", op.short_name), Frame.of(src))
        op.kernel(src, params, out)  # tables that are made once and kept are no temporaries
        tracemalloc.start()
        op.kernel(src, params, out)
        most = max(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return most


@pytest.mark.parametrize("sizes", ["equal", "all-different"])
def test_fifty_images_in_one_block_are_never_more_than_8_alive(sizes, make_photos, augmented, tmp_path, monkeypatch):
    """Measured over the whole block by what NumPy (and OpenCV through it) allocates."""
    monkeypatch.setattr(Job, "block_images", 50)
    shape, source = (512, 768, 3), tmp_path / "photos"
    for number in range(50):
        smaller = number if sizes == "all-different" else 0
        make_photos(source, 1, first=number, shape=(shape[0] - smaller, *shape[1:]))
    image = int(np.prod(shape))
    extra = temporaries(shape)
    # Once before: modules, lookup tables and thread limits stay, and are no part of a block.
    augmented(source).sample(1).write(tmp_path / "before").compute(scheduler="sync")
    run = augmented(source).sample(3).write(tmp_path / "out")
    assert run.left == 150
    tracemalloc.start()
    try:
        report = run.compute(scheduler="sync")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.outputs == 150
    # The file that was read, the one encoded (as OpenCV's array and as bytes) and the block's rows with their JSON are
    # in the peak too: a fifth of an image, of these smooth pictures. Of different sizes 8 are alive when one has just
    # been decoded, before the buffers of the one before are let go; of equal ones, on the longest path.
    assert peak - extra < (ALIVE + 0.2) * image, f"{(peak - extra) / image:.2f} images alive"


def test_recipe_of_more_leaves_keeps_one_path_alive(make_photos, tmp_path):
    source = make_photos(tmp_path / "photos", 2)
    recipe = ops.Sequential(ops.Repeat(ops.GaussNoise(), 40), ops.Repeat(ops.GaussianBlur(), 5))
    report = ks.augment(source, recipe).write(tmp_path / "out").compute(scheduler="sync")
    assert report.outputs == 400
    assert report.counts["buffer"] <= 3 * 2, "two ops and the encoder's, in each of two blocks"
