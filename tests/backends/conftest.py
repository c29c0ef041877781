"""Torch on one thread, as OpenCV is in a task: small images, and more threads, take longer to wake than to compute."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
