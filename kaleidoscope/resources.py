"""What a machine has, and how much of it one task may take."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import cv2
import dask.config
import threadpoolctl

from kaleidoscope.errors import RecipeError, ResourceError
from kaleidoscope.gpus import GPU, devices

_SETTING = "distributed.worker.resources"


class _OneThread:
    """Holds OpenCV and BLAS at one thread while any of our tasks runs in this process.

    A counter, because tasks overlap: setting and restoring per task races, and the last one out would restore
    what the first one in had set. ``OMP_NUM_THREADS=1`` is no substitute: OpenCV ignores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._opencv_before = 0
        self._blas: threadpoolctl.threadpool_limits | None = None
        self._libraries = threadpoolctl.ThreadpoolController()
        self._modules = len(sys.modules)

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._opencv_before = cv2.getNumThreads()
                cv2.setNumThreads(1)
                if self._modules != len(sys.modules):  # looking for libraries takes more than a millisecond
                    self._libraries, self._modules = threadpoolctl.ThreadpoolController(), len(sys.modules)
                with _any_thread_may_limit_blas():
                    self._blas = self._libraries.limit(limits=1, user_api="blas")

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                cv2.setNumThreads(self._opencv_before)
                if self._blas is not None:
                    with _any_thread_may_limit_blas():
                        self._blas.restore_original_limits()
                    self._blas = None


@contextmanager
def _any_thread_may_limit_blas() -> Iterator[None]:
    """Let this thread set OpenBLAS's number although another one did so last.

    Since 3.8 threadpoolctl lets only the thread that set it set it again, and ignores others without a word. The last
    task out is seldom in the thread of the first one in.
    """
    threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)
    try:
        yield
    finally:
        threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)


_one_thread = _OneThread()


@contextmanager
def one_thread_per_task() -> Iterator[None]:
    """Run OpenCV and BLAS on one thread inside the block: Dask already fills the cores with tasks.

    The process's own settings come back when the last of the overlapping blocks ends.

    Examples
    --------
    >>> with one_thread_per_task():
    ...     cv2.getNumThreads()
    1
    """
    _one_thread.enter()
    try:
        yield
    finally:
        _one_thread.leave()


def fits(needs: Mapping[str, float], offers: Mapping[str, float]) -> bool:
    """Whether what is offered covers what is needed.

    Examples
    --------
    >>> fits({"GPU": 1}, {"GPU": 2, "X": 1}), fits({"GPU": 1}, {}), fits({}, {})
    (True, False, True)
    """
    return all(offers.get(name, 0) >= amount for name, amount in needs.items())


def said(resources: Mapping[str, float]) -> str:
    """Write resources as workers are started with them.

    Examples
    --------
    >>> said({"GPU": 1.0, "X": 2}), said({})
    ('GPU=1 X=2', 'nothing')
    """
    return " ".join(f"{name}={amount:g}" for name, amount in sorted(resources.items())) or "nothing"


def offered_here() -> dict[str, float]:
    """Return what a task that runs in this thread has beside its core: that of its Dask worker, else of this process.

    A process that is no worker has its GPUs, and what ``distributed.worker.resources`` says in Dask's configuration.

    Raises
    ------
    RecipeError
        If that setting is none of names with amounts.
    """
    module = sys.modules.get("distributed.worker")
    state = getattr(module.thread_state, "execution_state", None) if module is not None else None
    if state is not None:
        return dict(state["worker"].state.total_resources)
    found = len(devices())
    return {**({GPU: float(found)} if found else {}), **_said_in_configuration()}


def _said_in_configuration() -> dict[str, float]:
    given = dask.config.get(_SETTING, None)
    if given is None:
        return {}
    if not are_resources(given):
        variable = "DASK_DISTRIBUTED__WORKER__RESOURCES"
        raise RecipeError(
            f"Dask's setting {_SETTING}: expected names with amounts, such as {{'GPU': 1}}, got {given!r}; as an "
            f"environment variable it is written {variable}='{{\"GPU\": 1}}'"
        )
    return dict(given)


def are_resources(given: object) -> bool:
    """Whether these are names with amounts, as Dask counts them.

    Examples
    --------
    >>> are_resources({"GPU": 1, "X": 0.5}), are_resources("GPU=1"), are_resources({"GPU": "1"})
    (True, False, False)
    """
    return isinstance(given, Mapping) and all(
        isinstance(name, str) and isinstance(amount, int | float) and not isinstance(amount, bool) and amount >= 0
        for name, amount in given.items()
    )


def require(needs: Mapping[str, float], who: str) -> None:
    """Refuse to run something where its resources are not.

    Dask drops annotations where it takes a bag's graph over, as in ``dask.delayed(bag)`` or ``db.zip``.

    Raises
    ------
    ResourceError
        Naming what needs it and what is here.
    """
    offers = offered_here() if needs else {}
    if not fits(needs, offers):
        raise ResourceError(
            f"{who} needs a worker with {said(needs)}, and was started where there is {said(offers)}. On a cluster "
            "call compute, persist or write on the bag itself: Dask's own functions (delayed, zip, to_dataframe, ...) "
            "forget what a task needs. Where there is none, Dask's setting distributed.worker.resources says what "
            "this process has"
        )
