"""The names of services, ``name.namespace[.svc.cluster.local]``, looked up in a file: for pods and the operator."""

import json
import os
import re
import socket

_SERVICE = re.compile(r"^([a-z0-9-]+)\.([a-z0-9-]+)(\.svc(\.cluster\.local)?)?$")
_real = socket.getaddrinfo


def getaddrinfo(host, *args, **kwargs):
    """Look a name up, a service's first."""
    if isinstance(host, str) and (found := _SERVICE.match(host)):
        with open(os.environ["FAKE_KUBERNETES_NAMES"]) as file:  # noqa: PTH123 - every process loads this: no pathlib
            address = json.load(file).get(f"{found[1]}.{found[2]}")
        if address:
            return _real(address, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, f"there is no service {host}")
    return _real(host, *args, **kwargs)


socket.getaddrinfo = getaddrinfo
