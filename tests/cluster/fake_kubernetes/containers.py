"""A pod's container as a process of this machine: its variables, its folders, its words."""

import base64
import os
import re
import sys
from pathlib import Path

from .selectors import at
from .store import SECRETS

_REFERENCE = re.compile(r"\$\(([A-Za-z_]\w*)\)")
_PORTS = {"scheduler": "8787", "worker": "8788"}
HERE = Path(__file__).parent


class CannotStart(Exception):  # noqa: N818 - the reason that Kubernetes gives
    """A container that lacks something."""


class Container:
    """What a pod's only container is started with.

    A pod has an address of its own on loopback instead of a network of its own, so ``--host`` and the dashboard's
    address become that address; mounted folders are folders of the pod's, wherever a word or variable names them.
    """

    def __init__(self, store, pod, address, folder, names):
        self._spec = pod["spec"]["containers"][0]
        mounts = self._spec.get("volumeMounts") or []
        self._folders = {mount["mountPath"]: str(folder / "volumes" / mount["name"]) for mount in mounts}
        for mounted in self._folders.values():
            Path(mounted).mkdir(parents=True, exist_ok=True)
        self.address, self.name, self.image = address, self._spec["name"], self._spec.get("image", "")
        self.environment = self._variables(store, pod, names)

    def words(self, given=None):
        """Return the words of its command, or of another one that runs in it."""
        words = given or [*(self._spec.get("command") or []), *(self._spec.get("args") or [])]
        words = [self._local(_REFERENCE.sub(self._value, word)) for word in words]
        role = next((role for role in _PORTS if role in words[:3]), None) if given is None else None
        if role:
            _set(words, "--host", self.address)
            port = _PORTS[role]
            if "--dashboard-address" in words:
                port = words[words.index("--dashboard-address") + 1].rpartition(":")[2]
            _set(words, "--dashboard-address", f"{self.address}:{port}")
        return words

    @property
    def pre_stop(self):
        """The words of the command that runs before it is told to end, if there is one."""
        command = at(self._spec, "lifecycle.preStop.exec.command")
        return self.words(command) if command else None

    @property
    def ready_url(self):
        """Where its readiness is asked, if anywhere."""
        probe = at(self._spec, "readinessProbe.httpGet")
        if not probe:
            return None
        ports = {port.get("name"): port["containerPort"] for port in self._spec.get("ports", [])}
        return f"http://{self.address}:{ports.get(probe['port'], probe['port'])}{probe.get('path', '/')}"

    def _value(self, found):
        return self.environment.get(found[1], found[0])

    def _local(self, text):
        for mounted, folder in self._folders.items():
            text = re.sub(rf"(?<![\w/]){re.escape(mounted)}(?=/|$)", folder, text)
        return text

    def _variables(self, store, pod, names):
        """Return what is in the image, then what the pod says, in its order."""
        paths = (str(HERE / "dns"), os.environ.get("FAKE_KUBERNETES_PYTHONPATH", ""))
        found = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "FAKE_KUBERNETES_NAMES": str(names),
            "HOSTNAME": pod["metadata"]["name"],
        }
        self.environment = found
        namespace = pod["metadata"]["namespace"]
        for source in self._spec.get("envFrom") or []:
            found |= self._secret(store, namespace, source["secretRef"]["name"])
        for variable in self._spec.get("env") or []:
            source = variable.get("valueFrom", {})
            if reference := source.get("secretKeyRef"):
                found[variable["name"]] = self._secret(store, namespace, reference["name"])[reference["key"]]
            elif reference := source.get("fieldRef"):
                found[variable["name"]] = str(at(pod, reference["fieldPath"], self.address))
            else:
                value = _REFERENCE.sub(self._value, str(variable.get("value", "")))
                found[variable["name"]] = self._local(value)
        return found

    @staticmethod
    def _secret(store, namespace, name):
        secret = store.find(SECRETS, namespace, name)
        if secret is None:
            raise CannotStart(f'secret "{name}" not found')
        plain = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
        return {**plain, **(secret.get("stringData") or {})}


def _set(words, option, value):
    if option in words:
        words[words.index(option) + 1] = value
    else:
        words += [option, value]
