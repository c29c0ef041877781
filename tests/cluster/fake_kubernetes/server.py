"""The HTTP side: discovery, reading and changing objects, watches."""

import asyncio
import copy
import json
import re

import jsonpatch
from aiohttp import ClientConnectionResetError, web

from .selectors import at, fields_match, labels_match, merge
from .store import PODS, Refusal
from .streams import logs, port_forward

_PATH = re.compile(
    r"^/(?:api/(v1)|apis/([^/]+/[^/]+))(?:/namespaces/([^/]+)(?=/[^/]+))?/([^/]+)(?:/([^/]+))?(?:/([^/]+))?/?$"
)
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


class Server:
    """Answers requests from a `Store`, and streams from the pods."""

    def __init__(self, store, folder):
        self._store, self._folder = store, folder

    def app(self):
        """Return what aiohttp serves."""
        app = web.Application(middlewares=[self._refusals], client_max_size=64 * 2**20)
        app.router.add_get("/version{_:/?}", self._version)
        app.router.add_get("/api{_:/?}", self._core)
        app.router.add_get("/apis{_:/?}", self._groups)
        app.router.add_get("/api/{version:v1}{_:/?}", self._resources)
        app.router.add_get("/apis/{group}/{version:[^/]+}{_:/?}", self._resources)
        app.router.add_route("*", "/{rest:.*}", self._handle)
        return app

    @web.middleware
    async def _refusals(self, request, handler):
        try:
            return await handler(request)
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.code)

    async def _version(self, _):
        return web.json_response({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})

    async def _core(self, _):
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})

    async def _groups(self, _):
        found = sorted({group for group, _ in self._store.resources if "/" in group})
        versions = [{"groupVersion": group, "version": group.split("/")[1]} for group in found]
        groups = [
            {"name": group.split("/")[0], "versions": [version], "preferredVersion": version}
            for group, version in zip(found, versions, strict=True)
        ]
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    async def _resources(self, request):
        wanted = "/".join(filter(None, (request.match_info.get("group"), request.match_info["version"])))
        found = []
        for (group, plural), resource in self._store.resources.items():
            if group == wanted:
                shared = {"namespaced": resource.namespaced, "kind": resource.kind}
                named = {"singularName": resource.singular, "shortNames": resource.short}
                found.append({"name": plural, "verbs": _VERBS, **named, **shared})
                found += [
                    {"name": f"{plural}/{part}", "singularName": "", "verbs": ["get", "patch", "update"], **shared}
                    for part in resource.parts
                ]
        if not found:
            raise Refusal(404, "NotFound", f"no such group {wanted}")
        answer = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": wanted, "resources": found}
        return web.json_response(answer)

    async def _handle(self, request):
        found = _PATH.match(request.path)
        key = (found[1] or found[2], found[4]) if found else None
        if key not in self._store.resources:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        namespace, name, part = found[3], found[5], found[6]
        if not name:
            return await self._all(request, key, namespace)
        if key == PODS and part == "log":
            return logs(request, self._store.get(PODS, namespace, name), self._folder)
        if key == PODS and part == "portforward":
            return await port_forward(request, self._store.get(PODS, namespace, name))
        if part and part not in self._store.resources[key].parts:
            raise Refusal(404, "NotFound", f"{key[1]} have no {part}")
        return web.json_response(await self._one(request, key, namespace, name, part))

    async def _all(self, request, key, namespace):
        query = request.query
        chosen = (namespace, query.get("labelSelector"), query.get("fieldSelector"))
        if request.method == "POST":
            return web.json_response(self._store.create(key, namespace, await request.json()), status=201)
        if request.method == "DELETE":
            for one in self._store.list(key, *chosen):
                self._store.delete(key, namespace, one["metadata"]["name"])
            return web.json_response({"kind": "Status", "status": "Success"})
        if query.get("watch") in ("true", "1"):
            return await self._watch(request, key, namespace)
        answer = {"kind": self._store.resources[key].kind + "List", "apiVersion": key[0]}
        answer |= {"metadata": {"resourceVersion": str(self._store.version)}, "items": self._store.list(key, *chosen)}
        return web.json_response(answer)

    async def _one(self, request, key, namespace, name, part):
        old = self._store.get(key, namespace, name)
        if request.method == "GET":
            return old
        if request.method == "DELETE":
            options = await request.json() if request.can_read_body else {}
            grace = request.query.get("gracePeriodSeconds", (options or {}).get("gracePeriodSeconds"))
            return self._store.delete(key, namespace, name, None if grace is None else int(grace))
        if request.method == "PUT":
            return self._store.update(key, namespace, name, await request.json(), part)
        if request.method == "PATCH":
            return self._store.update(key, namespace, name, await self._patched(request, key, old, part), part)
        raise Refusal(405, "MethodNotAllowed", request.method)

    async def _patched(self, request, key, old, part):
        patch = await request.json()
        if part == "scale":
            for name in reversed(self._store.resources[key].replicas_path.split(".")):
                patch = {name: at(patch, "spec.replicas", patch)}
            return merge(copy.deepcopy(old), patch)
        if "json-patch+json" in request.headers.get("Content-Type", ""):
            try:
                return jsonpatch.apply_patch(copy.deepcopy(old), patch)
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                raise Refusal(422, "Invalid", f"the JSON patch: {error}") from None
        return merge(copy.deepcopy(old), patch)

    async def _watch(self, request, key, namespace):
        """Send what happened since a version, and from then on what happens."""
        query, resource = request.query, self._store.resources[key]

        def chosen(thing):
            return (
                namespace in (None, thing["metadata"].get("namespace"))
                and labels_match(query.get("labelSelector"), thing["metadata"].get("labels") or {})
                and fields_match(query.get("fieldSelector"), thing)
            )

        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        since = int(query.get("resourceVersion") or 0)
        if since:
            first = [event for event in resource.events if event[0] > since]
        else:
            first = [(0, "ADDED", one) for one in self._store.list(key, namespace)]
        queue = self._store.watch(key)
        try:
            await answer.prepare(request)
            async with asyncio.timeout(float(query.get("timeoutSeconds") or 3600)):
                for _, what, thing in first:
                    if chosen(thing):
                        await answer.write(json.dumps({"type": what, "object": thing}).encode() + b"\n")
                while True:
                    _, what, thing = await queue.get()
                    if chosen(thing):
                        await answer.write(json.dumps({"type": what, "object": thing}).encode() + b"\n")
        except (TimeoutError, ConnectionResetError, ClientConnectionResetError):
            pass  # how a watch ends
        finally:
            resource.watchers.remove(queue)
        return answer
