"""A store that does not answer: what is told of it while it is asked again, and at the end."""

import os
import socket
import subprocess
import sys
import traceback
from datetime import timedelta

import dask
import pytest

from kaleidoscope import opening, retries
from kaleidoscope.errors import StoreError
from kaleidoscope.retries import described, retried
from kaleidoscope.sources import list_images
from kaleidoscope.storage import Store

LIBRARIES = ["obstore", "fsspec"]


@pytest.fixture
def mute():
    """The URL of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def nobody():
    """A URL where nobody listens, and nobody can begin to: the port is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(params=LIBRARIES)
def library(request, monkeypatch):
    """The library that asks, again at once; tells start anew."""
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(retries, "_teller", retries._Teller())
    with dask.config.set({"kaleidoscope.object-store": request.param, "kaleidoscope.store-tries": 3}):
        yield request.param


def options(endpoint, library, silence=10):
    hasty = {"config_kwargs": {"read_timeout": silence, "connect_timeout": 10}} if library == "fsspec" else {}
    return {"key": "kaleidoscope", "secret": "only-here", "endpoint_url": endpoint, **hasty}


ASK = {
    "read": lambda store: store.read("a"),
    "read if there": lambda store: store.read_if_there("a"),
    "exists": lambda store: store.exists("a"),
    "write": lambda store: store.write("a", b"1"),
    "find": lambda store: store.find(),
    "look": lambda store: list(store.look()),
    "list": lambda store: store.list("a"),
    "images": lambda store: list_images(store.url, storage_options=store.storage_options),
}


@pytest.mark.parametrize("ask", ASK)
def test_that_nobody_listens_is_told_once_and_says_where_to_look(ask, nobody, library, caplog):
    store = Store("s3://out/plain", options(nobody, library))
    with pytest.raises(StoreError) as refused:
        ASK[ask](store)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("kaleidoscope.retries", "WARNING")
    assert record.getMessage().startswith("s3://out/plain")
    assert record.getMessage().endswith(": no connection, try 2 of 3")
    assert nobody in str(refused.value)
    assert str(refused.value).endswith("; check the endpoint (AWS_ENDPOINT_URL, endpoint_url)")
    assert "_Refused" not in str(refused.value)
    assert "only-here" not in "".join(traceback.format_exception(refused.value))


def test_that_no_answer_comes_is_told(mute, library, caplog, monkeypatch):
    monkeypatch.setattr(opening, "_SILENCE", timedelta(seconds=1))
    ask = "list" if library == "fsspec" else "read"  # obstore lists nothing here
    with pytest.raises(StoreError, match=r"[Tt]imeout|timed out") as refused:
        ASK[ask](Store("s3://out/plain", options(mute, library, silence=1)))
    (record,) = caplog.records
    assert record.getMessage() == "s3://out/plain/a: no answer (timed out), try 2 of 3"
    assert str(refused.value).endswith("; check the endpoint (AWS_ENDPOINT_URL, endpoint_url)")


def test_it_is_told_again_after_a_while(monkeypatch, caplog):
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.0)
    monkeypatch.setattr(retries, "_teller", retries._Teller())
    for every, told in ((60.0, [2]), (0.0, [2, 3, 4])):
        monkeypatch.setattr(retries, "_TOLD_EVERY", every)
        monkeypatch.setattr(retries, "_teller", retries._Teller())
        caplog.clear()
        with pytest.raises(ConnectionResetError):
            retried(broken, 4, "http://me:secret@host/a?sig=SIG")
        wanted = [f"http://host/a: ConnectionResetError: it broke, try {number} of 4" for number in told]
        assert caplog.messages == wanted


def broken():
    raise ConnectionResetError("it broke")


def test_what_is_asked_once_tells_nothing(caplog):
    with pytest.raises(ConnectionResetError):
        retried(broken, 1, "s3://out/a")
    assert caplog.records == []


CALL = """
import logging
import kaleidoscope
from kaleidoscope.retries import retried
{setup}
def broken():
    raise ConnectionResetError("it broke")
try:
    retried(broken, 3, "s3://out/a")
except ConnectionResetError:
    pass
"""


@pytest.mark.parametrize(
    ("setup", "shown"),
    [
        ("", "s3://out/a: ConnectionResetError: it broke, try 2 of 3\n"),
        ("logging.basicConfig(format='%(levelname)s')", "WARNING\n"),
        ("logging.getLogger('kaleidoscope').setLevel('ERROR')", ""),
    ],
)
def test_it_is_shown_where_nobody_listens(setup, shown):
    done = subprocess.run([sys.executable, "-c", CALL.format(setup=setup)], capture_output=True, text=True, check=True)
    assert done.stderr == shown


def test_the_command_line_shows_it(nobody):
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": nobody,
        "AWS_ACCESS_KEY_ID": "kaleidoscope",
        "AWS_SECRET_ACCESS_KEY": "only-here",
        "DASK_KALEIDOSCOPE__STORE_TRIES": "2",
    }
    command = [sys.executable, "-m", "kaleidoscope", "report", "s3://out/plain"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    told, refused = done.stderr.splitlines()
    assert done.returncode != 0
    assert told == "s3://out/plain/_kaleidoscope/run.json: no connection, try 2 of 2"
    assert f"no connection to {nobody}; check the endpoint" in refused


def test_a_private_kind_of_error_is_not_named():
    class _OursError(OSError):
        pass

    assert described(_OursError("it broke")) == "it broke"
    assert described(OSError("it broke")) == "OSError: it broke"
