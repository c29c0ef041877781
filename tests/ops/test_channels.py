import numpy as np
import pytest

from kaleidoscope.errors import OpError
from kaleidoscope.ops.channels import by_groups, channel_groups


@pytest.mark.parametrize("channels", range(1, 140))
def test_groups_hold_every_channel_once_and_never_two(channels):
    groups = channel_groups(channels)
    assert [c for group in groups for c in range(channels)[group]] == list(range(channels))
    assert {len(range(channels)[group]) for group in groups} <= {1, 3, 4}


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_every_group_is_filled_by_its_own_step(channels):
    src = np.arange(6 * channels, dtype=np.uint8).reshape(2, 3, channels)
    out = np.empty_like(src)
    offsets = np.arange(channels, dtype=np.uint8)
    by_groups(lambda some, made, which: np.add(some, offsets[which], out=made), src, out)
    np.testing.assert_array_equal(out, src + offsets)


@pytest.mark.parametrize("channels", [3, 7])
def test_a_step_that_writes_elsewhere_is_refused(channels):
    src = np.zeros((2, 3, channels), np.uint8)
    with pytest.raises(OpError, match="did not write into the buffer"):
        by_groups(lambda some, made, which: some + 1, src, np.empty_like(src))
