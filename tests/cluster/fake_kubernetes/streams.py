"""What comes straight from pods: their logs, and their ports over a WebSocket."""

import asyncio
from pathlib import Path

from aiohttp import WSMsgType, web

from .selectors import at

LOG = "container.log"
_DATA, _ERROR = b"\0", b"\1"  # the channels of the first port
_MOST = 32 * 2**10  # bytes in a frame: httpx-ws takes up to 64 KiB


def pod_folder(folder, pod):
    """Return where a pod's files lie; a pod of the same name that comes later has another one."""
    return Path(folder, "pods", f"{pod['metadata']['name']}-{pod['metadata']['uid'][:8]}")


def logs(request, pod, folder):
    """Answer with what the pod's container wrote."""
    path = pod_folder(folder, pod) / LOG
    text = path.read_text(errors="replace") if path.exists() else ""
    if request.query.get("tailLines"):
        text = "".join(text.splitlines(keepends=True)[-int(request.query["tailLines"]) :])
    return web.Response(text=text)


async def port_forward(request, pod):
    """Pass bytes between a WebSocket and a port of the pod."""
    port = int(request.query["ports"].split(",")[0])
    socket = web.WebSocketResponse(max_msg_size=0, protocols=("v4.channel.k8s.io", "portforward.k8s.io"))
    await socket.prepare(request)
    for channel in (_DATA, _ERROR):
        await socket.send_bytes(channel + port.to_bytes(2, "little"))
    try:
        reader, writer = await asyncio.open_connection(at(pod, "status.podIP"), port)
    except OSError as error:
        await socket.send_bytes(_ERROR + str(error).encode())
        await socket.close()
        return socket

    async def back():
        while data := await reader.read(_MOST):
            await socket.send_bytes(_DATA + data)
        await socket.close()

    answers = asyncio.create_task(back())
    try:
        async for message in socket:
            if message.type == WSMsgType.BINARY and message.data[:1] == _DATA:
                writer.write(message.data[1:])
                await writer.drain()
    except ConnectionError:
        pass  # one side has gone
    finally:
        answers.cancel()
        writer.close()
    return socket
