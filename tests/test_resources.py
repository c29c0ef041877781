import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import dask
import pytest
import threadpoolctl

from kaleidoscope.errors import RecipeError
from kaleidoscope.resources import offered_here, one_thread_per_task

OWN = 3  # threads that the process had set for OpenCV


@pytest.fixture(autouse=True)
def opencv_threads():
    before = cv2.getNumThreads()
    cv2.setNumThreads(OWN)
    yield
    cv2.setNumThreads(before)


def blas_threads():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def test_opencv_runs_one_thread_inside_and_its_own_number_after():
    with one_thread_per_task():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == OWN


def test_blas_runs_one_thread_inside_and_its_own_number_after():
    with threadpoolctl.threadpool_limits(2, "blas"):
        assert blas_threads() == {2}
        with one_thread_per_task():
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_a_task_that_fails_restores_the_number():
    with pytest.raises(RuntimeError, match="task"), one_thread_per_task():
        raise RuntimeError("task")
    assert cv2.getNumThreads() == OWN


def test_nested_blocks_restore_at_the_outermost():
    with one_thread_per_task():
        with one_thread_per_task():
            pass
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == OWN


def test_the_first_in_may_leave_first():
    # The order that broke the naive way: it restored while the other was still at work, and the other then
    # "restored" the 1 that it had found.
    inside, leave = threading.Event(), threading.Event()

    def other():
        with one_thread_per_task():
            inside.set()
            assert leave.wait(30)
            return cv2.getNumThreads()

    with ThreadPoolExecutor(1) as pool:
        with one_thread_per_task():
            running = pool.submit(other)
            assert inside.wait(30)
        assert cv2.getNumThreads() == 1
        leave.set()
        assert running.result() == 1
    assert cv2.getNumThreads() == OWN


def test_overlapping_tasks_of_many_threads_restore_the_number():
    workers, rounds = 8, 50
    start = threading.Barrier(workers)

    def work():
        start.wait(30)
        seen = set()
        for _ in range(rounds):
            with one_thread_per_task():
                seen.add(cv2.getNumThreads())
        return seen

    with ThreadPoolExecutor(workers) as pool:
        seen = [task.result() for task in [pool.submit(work) for _ in range(workers)]]
    assert set.union(*seen) == {1}
    assert cv2.getNumThreads() == OWN


def test_a_number_that_changed_between_tasks_is_the_one_restored():
    with one_thread_per_task():
        pass
    cv2.setNumThreads(2)
    with one_thread_per_task():
        pass
    assert cv2.getNumThreads() == 2


SETTING = "distributed.worker.resources"


@pytest.mark.parametrize(
    "wrong", ["GPU=1", "GPU", 1, ["GPU"], {"GPU": "1"}, {"GPU": True}, {"GPU": -1}, {1: 1}], ids=repr
)
def test_a_setting_that_says_no_resources_is_refused_with_what_to_write(wrong):
    with dask.config.set({SETTING: wrong}), pytest.raises(RecipeError) as caught:
        offered_here()
    said = str(caught.value)
    assert f"{SETTING}: expected names with amounts, such as {{'GPU': 1}}, got {wrong!r}" in said
    assert """DASK_DISTRIBUTED__WORKER__RESOURCES='{"GPU": 1}'""" in said


@pytest.mark.parametrize(("given", "expected"), [({"X": 0.5}, {"X": 0.5}), ({}, {}), (None, {})])
def test_a_setting_says_what_this_process_has(monkeypatch, given, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with dask.config.set({SETTING: given}):
        assert offered_here() == expected


def test_what_the_message_says_to_write_is_what_dask_reads():
    code = "from kaleidoscope.resources import offered_here; print(offered_here())"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "DASK_DISTRIBUTED__WORKER__RESOURCES": '{"GPU": 1}'}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "{'GPU': 1}"
