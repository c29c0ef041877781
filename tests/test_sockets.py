"""Nothing is sent anywhere: neither importing nor a whole run on this machine's threads opens a socket."""

import subprocess
import sys

import pytest

# Python's own sockets tell an audit hook; what a library in C had opened would still be open in the end. That a run
# asks for the machine's name is no connection: `gethostname` is left out.
WATCH = """
import sys
seen = []
names = ("__new__", "connect", "bind", "sendto", "sendmsg", "getaddrinfo", "gethostbyname", "gethostbyaddr")
events = {"socket." + name for name in names}
sys.addaudithook(lambda event, args: seen.append(event) if event in events else None)
"""
RUN = """
import shutil, sys
from pathlib import Path
import kaleidoscope as ks

folder = Path(sys.argv[1])
(folder / "photos").mkdir()
for name in ("chelsea.jpg", "brick.png"):
    shutil.copy(ks.samples.folder() / name, folder / "photos")
views = ks.augment(ks.read_images(folder / "photos"), [ks.ops.HorizontalFlip(), ks.ops.Rotate(limit=15)], seed=7)
views.preview().save(folder / "sheet.png")
report = views.write(folder / "out").compute()
assert report.outputs == len(report.manifest.compute()) == len(views.compute()) == 8
assert ks.read_manifest(folder / "out").compute()["status"].eq("ok").all()
assert ks.replay(report.manifest.compute().iloc[0]).ndim == 3
"""
SAY = """
import psutil
print(*seen, *(f"open: {one.laddr}" for one in psutil.Process().net_connections()))
"""


def sockets_of(code, folder):
    """Return what a process of its own did with sockets while it ran some code."""
    command = [sys.executable, "-c", WATCH + code + SAY, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_opens_none(tmp_path):
    assert sockets_of("import kaleidoscope", tmp_path) == []


def test_importing_every_name_opens_none(tmp_path):
    code = "import kaleidoscope as ks\nfor room in (ks, ks.ops): [getattr(room, name) for name in dir(room)]"
    assert sockets_of(code, tmp_path) == []


def test_a_whole_run_opens_none(tmp_path):
    assert sockets_of(RUN, tmp_path) == []


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("import socket\nsocket.socket().close()", "socket.__new__"),
        ("import socket\nsocket.getaddrinfo('127.0.0.1', 80)", "socket.getaddrinfo"),
        ("import socket\nkept = socket.create_server(('127.0.0.1', 0))", "open:"),
        (
            "import urllib.request\ntry: urllib.request.urlopen('http://127.0.0.1:9')\nexcept OSError: pass",
            "socket.connect",
        ),
        ("import kaleidoscope as ks\nks.cluster.local(workers=1, dashboard=False).close()", "socket.bind"),
    ],
)
def test_this_check_sees_them(code, event, tmp_path):
    assert event in sockets_of(code, tmp_path)


def test_this_check_sees_one_in_the_middle_of_a_run(tmp_path):
    code = RUN.replace("report = ", "import socket; socket.socket().close()\nreport = ")
    assert sockets_of(code, tmp_path) == ["socket.__new__"]
