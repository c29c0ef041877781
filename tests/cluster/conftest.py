"""Hosts to reach by SSH: real servers on loopback addresses of this machine, each with keys of its own."""

import gc
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

NOT_YET = 60.0  # seconds after which something that should have happened will not
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")


@pytest.fixture(scope="session")
def tree():
    """Return every output below a folder by name; the run's own files have times in them."""

    def tree(folder):
        files = (path for path in Path(folder).rglob("*") if path.is_file() and "_kaleidoscope" not in path.parts)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    return tree


@dataclass
class Server:
    """One sshd; `as_host` is what a cluster is told of it, and `place` what keeps its port from others."""

    address: str
    port: int
    process: subprocess.Popen
    folder: Path
    place: socket.socket
    extra: dict = field(default_factory=dict)

    def as_host(self, **more):
        return {"host": self.address, "port": self.port, **self.extra, **more}

    @property
    def label(self):
        return f"{self.address}:{self.port}"

    def children(self):
        """Everything that runs on this host."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self):
        """Take the plug out."""
        everything = [*self.children(), psutil.Process(self.process.pid)]
        for one in everything:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.kill()
        self.place.close()


class Servers:
    """Makes hosts 127.0.0.2, 127.0.0.3, ..."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.made = []
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.touch()
        self.key = self.make_key("id")

    def make_key(self, name):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name]
        subprocess.run(command, check=True)
        return self.folder / name

    @property
    def options(self):
        """What holds for all of them."""
        # What the tests run is found by PYTHONPATH in a checkout without installation: sshd forgets the environment.
        env = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
        env |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_PROCESS")}
        found = {"key": str(self.key), "known_hosts": str(self.known_hosts), "python": sys.executable}
        return {**found, "env": env}

    def start(self, *, known=True, **extra):
        address = f"127.0.0.{2 + len(self.made)}"
        folder = self.folder / address
        folder.mkdir()
        host_key = self.make_key(f"{address}/host_key")
        # Bound, and never listening: sshd, which sets this option too, binds beside it, and nobody is given the port.
        place = socket.socket()
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((address, 0))
        port = place.getsockname()[1]
        config = {
            "ListenAddress": address,
            "Port": port,
            "HostKey": host_key,
            "AuthorizedKeysFile": f"{self.key}.pub",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "AllowTcpForwarding": "yes",
        }
        (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in config.items()))
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", folder / "config"], stderr=log, stdin=subprocess.DEVNULL
            )
        self.made.append(Server(address, port, process, folder, place, extra))
        self._wait(self.made[-1])
        if known:
            public = host_key.with_suffix(".pub").read_text().split()[:2]
            with self.known_hosts.open("a") as lines:
                lines.write(f"[{address}]:{port} {' '.join(public)}\n")
        return self.made[-1]

    @staticmethod
    def _wait(server):
        end = time.monotonic() + NOT_YET
        while True:
            assert server.process.poll() is None, (server.folder / "log").read_text()
            try:
                socket.create_connection((server.address, server.port), 1).close()
            except OSError:
                assert time.monotonic() < end, "sshd does not listen"
                time.sleep(0.02)
            else:
                return

    def close(self):
        for one in self.made:
            one.close()


@pytest.fixture
def servers(tmp_path):
    pytest.importorskip("asyncssh")
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("there is no sshd: install openssh-server")
    try:
        socket.create_server(("127.0.0.2", 0)).close()
    except OSError:
        pytest.skip("this machine has one loopback address only")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd started by root insists on it
    folder = tmp_path / "sshd"
    folder.mkdir()
    made = Servers(folder)
    yield made
    made.close()


# The look-alike of Kubernetes is a package of its own, which its processes import; parts of it are not for this one.
collect_ignore = ["fake_kubernetes"]
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def kube(tmp_path_factory):
    """Kubernetes with Dask's operator in it, as its client finds it: a node with two cores too few for all, one GPU."""
    pytest.importorskip("dask_kubernetes")
    from fake_kubernetes.launch import FakeKubernetes

    with pytest.MonkeyPatch.context() as patch:
        gpu = "gpu-node:cpu=4,memory=64Gi,nvidia.com/gpu=1,label:pool=gpu,taint:nvidia.com/gpu=present"
        started = FakeKubernetes(tmp_path_factory.mktemp("kube"), "cpu-node:cpu=8,memory=64Gi", gpu)
        patch.setenv("KUBECONFIG", str(started.kubeconfig))
        yield started
        started.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # kr8s leaves its connections to the garbage collector
        gc.collect()
