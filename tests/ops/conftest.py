"""Made-up pixels, and a kernel run as the backend runs it."""

import json
import pickle

import cv2
import numpy as np
import pytest

from kaleidoscope import ops, samples
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.moves import moves_of
from kaleidoscope.recipe import from_spec, to_spec
from kaleidoscope.record import MAX_VALUE, Frame


@pytest.fixture
def make_pixels():
    """Return a function that makes random pixels of a shape and dtype, extremes included."""

    def make(shape, dtype="uint8", seed=0):
        rng = np.random.default_rng(seed)
        values = np.clip(rng.uniform(-0.1, 1.1, shape), 0, 1) * MAX_VALUE[dtype]
        return (values if dtype == "float32" else np.rint(values)).astype(dtype)

    return make


@pytest.fixture(scope="session")
def photograph():
    """One of the package's sample photographs, shape (H, W, 3), RGB."""
    path = min(samples.folder().glob("*.jpg"))
    return cv2.imread(str(path))[..., ::-1].copy()


@pytest.fixture
def run():
    """Return a function that runs an op's kernel into a buffer of leftovers, and guards the shared source."""

    def run(op, src, params):
        before = src.copy()
        src.flags.writeable = False
        frame = op.out_frame(Frame.of(src), params)
        out = np.full(frame.shape, 77, frame.dtype)
        op.kernel(src, params, out)
        assert np.array_equal(src, before), "the kernel wrote into its source"
        return out

    return run


@pytest.fixture
def apply():
    """Return a function that applies an op by the backend, kernel or not, and guards the shared source."""

    def apply(op, src, params):
        before = src.copy()
        src.flags.writeable = False
        frame = op.out_frame(Frame.of(src), params)
        out = Cv2Backend().apply(src, moves_of(op, params, Frame.of(src)))
        assert np.array_equal(src, before), "the op wrote into its source"
        assert Frame.of(out) == frame
        assert not np.may_share_memory(out, src)
        return out

    return apply


@pytest.fixture
def check_travels():
    """Return a function that checks that an op survives pickling, and that its repr evaluates back."""

    def check(op):
        copy = pickle.loads(pickle.dumps(op))
        assert copy == op
        assert hash(copy) == hash(op)
        assert eval(repr(op), {type(op).__name__: getattr(ops, type(op).__name__)}) == op
        assert from_spec(json.loads(json.dumps(to_spec(op)))) == op

    return check
