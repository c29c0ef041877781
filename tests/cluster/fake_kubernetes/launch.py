"""Starts the look-alike and the operator as processes, and ends them, by their ids."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import psutil
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NOT_YET = 60.0  # seconds after which something that should have happened will not
_CLAIMED_BY = 8785  # the port that is held in a block of addresses: one below those that pods take


class FakeKubernetes:
    """A Kubernetes cluster on this machine with Dask's operator in it.

    Its pods have addresses that no other one's have at that time: their ports are always the same.

    Parameters
    ----------
    folder : pathlib.Path
        Where logs and the files of pods lie.
    nodes : str
        Such as ``"cpu-node:cpu=8"`` and ``"gpu-node:cpu=2,nvidia.com/gpu=1"``.
    """

    def __init__(self, folder, *nodes):
        self.folder, self.kubeconfig = folder, folder / "kubeconfig"
        self._processes = []
        block, self._claim = _claim_block()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(ROOT)]),
            "FAKE_KUBERNETES_PYTHONPATH": str(ROOT),
            "FAKE_KUBERNETES_NAMES": str(folder / "names.json"),
            "KUBECONFIG": str(self.kubeconfig),
        }
        self._start("api", [sys.executable, "-m", "fake_kubernetes", str(folder), block, *nodes], environment)
        self.wait(self.kubeconfig.exists, "the API")
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE / "dns"), str(ROOT)])
        operator = ["-m", "kopf", "run", "-m", "dask_kubernetes.operator.controller", "--standalone", "-A"]
        self._start("operator", [sys.executable, *operator], environment)

    def _start(self, name, words, environment):
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=self.folder))

    def ask(self, method, path, body=None, **query):
        """Send a request to the API as ``kubectl`` would; return the answer."""
        (cluster,) = yaml.safe_load(self.kubeconfig.read_text())["clusters"]
        url = f"{cluster['cluster']['server']}{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - the API's own
        with urllib.request.urlopen(request, timeout=NOT_YET) as answer:  # noqa: S310
            return json.load(answer)

    def pods(self, namespace, labels=""):
        """Return the pods of a namespace."""
        return self.ask("GET", f"/api/v1/namespaces/{namespace}/pods", labelSelector=labels)["items"]

    def delete_pod(self, pod, grace=None):
        """Delete a pod; with a `grace` of 0 seconds as a node goes that is taken away."""
        where = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        self.ask("DELETE", where, None if grace is None else {"gracePeriodSeconds": grace})

    def log_of(self, name):
        """Return what ``api`` or ``operator`` said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def wait(self, condition, what):
        """Wait until something is so."""
        end = time.monotonic() + NOT_YET
        while not condition():
            for process in self._processes:
                if process.poll() is not None:
                    raise AssertionError(f"{process.args} ended: {self.log_of('api')} {self.log_of('operator')}")
            if time.monotonic() > end:
                raise AssertionError(f"waiting for {what}: {self.log_of('api')}")
            time.sleep(0.1)

    def close(self):
        """End the operator, the cluster, and with it every pod."""
        started = [child for process in self._processes for child in _family(process.pid)]
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        _, left = psutil.wait_procs(started, timeout=10)
        for process in left:
            process.kill()
        self._claim.close()


def _claim_block():
    """Return the first half of loopback addresses that nobody else has, and the socket that claims them until closed.

    The socket is bound, and does not listen; the end of the process that holds it ends the claim.
    """
    for second in range(2, 255):  # 127.0 is everybody's, and 127.1 that of older checkouts, which claim nothing
        block, claim = f"127.{second}", socket.socket()
        try:
            claim.bind((f"{block}.255.253", _CLAIMED_BY))
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return block, claim
    raise AssertionError("other clusters have all loopback addresses")


def _family(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
