"""Ends a process at an exact point of its work: loaded by the client script, and by workers as a Dask preload.

Puts are counted over all processes of a run, in a file, so that "the 300th put" is the same moment on every machine.
"""

import json
import os
import signal
import threading
from pathlib import Path

from kaleidoscope import storage
from kaleidoscope.pieces import size_of, whole

#: JSON in the environment: ``counter`` (a file), ``at`` (which put), ``stage``, ``signal`` and ``to``.
VARIABLE = "KALEIDOSCOPE_SABOTAGE"
#: The client's process id, in the environment of its workers.
CLIENT = "KALEIDOSCOPE_CLIENT"

_write_new, _replace, _link = storage._write_new, os.replace, os.link
_due = threading.local()
_counting = threading.Lock()


def _strike(plan):
    number = getattr(signal, plan["signal"])
    if plan["to"] == "self":
        os.kill(os.getpid(), number)
    elif plan["to"] == "client":
        os.kill(int(os.environ[CLIENT]), number)
    else:
        os.killpg(int(os.environ[CLIENT]), number)
    if plan["signal"] == "SIGKILL":  # and this thread does nothing more, whichever process it was
        threading.Event().wait()


def install():
    """Patch what a local `Store` writes with, if the environment asks for it."""
    plan = json.loads(os.environ.get(VARIABLE, "{}"))
    if not plan:
        return
    counter = os.open(plan["counter"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write_new(path, data):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with _counting:  # threads share the file's position, processes do not
            os.write(counter, b".")
            due = os.lseek(counter, 0, os.SEEK_CUR) == plan["at"]
        if due and plan["stage"] == "half":
            _write_new(path, whole(data)[: size_of(data) // 2])
            _strike(plan)
        _write_new(path, data)
        if due and plan["stage"] == "written":
            _strike(plan)
        _due.after_rename = due and plan["stage"] == "renamed"

    def then_strike(rename):
        def renamed(*args, **kwargs):
            rename(*args, **kwargs)
            if getattr(_due, "after_rename", False):
                _due.after_rename = False
                _strike(plan)

        return renamed

    storage._write_new = write_new
    os.replace = then_strike(_replace)
    os.link = then_strike(_link)


def dask_setup(worker):
    """Called by a Dask worker that preloads this file."""
    install()
