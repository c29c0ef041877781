import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest
import threadpoolctl

from kaleidoscope.resources import one_thread_per_task

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
