"""What a write costs: applications and buffers are counted, never timed."""

import os
import pickle
import tracemalloc
from collections import Counter
from functools import partial

import numpy as np
import pytest

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.backends.cv2 import warp_into
from kaleidoscope.following import thread_count
from kaleidoscope.job import Job
from kaleidoscope.ops.base import Geometric
from kaleidoscope.randomness import Streams, stream
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
    fills = [partial(warp_into, out, src, np.diag([1.1, 1.1, 1.0]), ops.Rotate().resampling)]
    for op in kernels:
        assert not isinstance(op, Geometric)
        params = op.sample_params(stream(7, "a", op.short_name), Frame.of(src))
        fills.append(partial(op.kernel, src, params, out))
    for fill in fills:
        fill()  # tables that are made once and kept are no temporaries
        tracemalloc.start()
        fill()
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
    # been decoded, before the buffers of the one before are let go; of equal ones, on the longest path. Warps keep two
    # arrays of four channels for the next image, which here has another size, and tables three planes.
    assert peak - extra < (ALIVE + 2 * 4 / 3 + 1 + 0.5) * image, f"{(peak - extra) / image:.2f} images alive"


def test_recipe_of_more_leaves_keeps_one_path_alive(make_photos, tmp_path):
    source = make_photos(tmp_path / "photos", 2)
    recipe = ops.Sequential(ops.Repeat(ops.GaussNoise(), 40), ops.Repeat(ops.GaussianBlur(), 5))
    report = ks.augment(source, recipe).write(tmp_path / "out").compute(scheduler="sync")
    assert report.outputs == 400
    assert report.counts["buffer"] <= 3 * 2, "two ops and the encoder's, in each of two blocks"


def test_draws_of_an_image_take_one_generator(make_photos, augmented, tmp_path, monkeypatch):
    made = []
    begin = Streams.__init__
    monkeypatch.setattr(Streams, "__init__", lambda self: (made.append(self), begin(self))[1])
    augmented(make_photos(tmp_path / "photos", 3)).write(tmp_path / "out").compute(scheduler="sync")
    assert len(made) == 3


def test_output_takes_four_calls_of_the_system(make_photos, augmented, tmp_path, monkeypatch):
    """Each of them hands the interpreter to another thread, and gets it back when that one is done."""
    run = augmented(make_photos(tmp_path / "photos", 1)).write(tmp_path / "out")
    calls = Counter()
    for name in ("open", "write", "close", "replace", "stat", "unlink"):
        real = getattr(os, name)

        def counted(*args, name=name, real=real, **kwargs):
            calls[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, counted)
    report = run.compute(scheduler="sync")
    assert report.outputs == 64
    few = 12  # the run's record, the block's part, the lease
    assert {name for name, count in calls.items() if count > few} == {"open", "write", "close", "replace"}
    assert max(calls.values()) < 64 + few


def test_ten_thousand_images_are_a_small_graph(augmented, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(10_000):
        (tmp_path / "photos" / f"{number}.jpg").touch()
    graph = dict(augmented(tmp_path / "photos").write(tmp_path / "out").__dask_graph__())
    threads = thread_count()
    tasks = 5000 / 64 + 8 * threads
    assert len(graph) <= 2 * tasks + 2, "a task does up to 64 blocks of 2 images, and another one has their keys"
    assert len(pickle.dumps(graph)) < 1_000_000
    assert max(len(pickle.dumps(task)) for task in graph.values()) < 200_000
