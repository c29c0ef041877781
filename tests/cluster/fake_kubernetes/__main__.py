"""The process that is the Kubernetes cluster; it ends on SIGTERM.

``python -m fake_kubernetes FOLDER BLOCK NODE...``, where a block such as ``127.2`` is where its pods' addresses begin.
"""

import asyncio
import logging
import signal
import sys
from pathlib import Path

import yaml
from aiohttp import web

from .controllers import Controllers
from .kubelet import Kubelet
from .nodes import parse_node
from .schemas import definitions
from .server import Server
from .store import NODES, Store

logger = logging.getLogger(__name__)
_LOOK = 0.1  # seconds between two looks at what has changed


def kubeconfig(port):
    """Return what tells a client where the cluster is."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "default"}}],
    }


async def serve(folder, block, nodes):
    """Serve until told to end."""
    store, names = Store(), folder / "names.json"
    for namespace in ("default", "augment"):
        store.create(("v1", "namespaces"), None, {"metadata": {"name": namespace}})
    for definition in definitions():
        store.define(definition)
    for node in nodes:
        store.create(NODES, None, parse_node(node))
    controllers, kubelet = Controllers(store, names, block), Kubelet(store, folder, names, block)
    runner = web.AppRunner(Server(store, folder).app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    part = folder / "kubeconfig.part"
    part.write_text(yaml.safe_dump(kubeconfig(runner.addresses[0][1])))
    part.replace(folder / "kubeconfig")  # whoever sees it can connect
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    while not end.is_set():
        try:
            controllers.look()
            kubelet.look()
        except Exception:
            logger.exception("a look at the cluster")  # and on: it is the next look that mends it
        await asyncio.sleep(_LOOK)
    await kubelet.stop()
    await runner.cleanup()


asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
