"""The requests that an estimate speaks of are those that a server gets: counted on the way to it."""

import threading
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import dask
import pytest

import kaleidoscope as ks
from kaleidoscope import ops


@contextmanager
def counting(options):
    """Count the requests to a server by kind; give what opens the way to it, and the counts."""
    counts = Counter()
    server = urlsplit(options["endpoint_url"])

    class Way(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self):
            asked = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            kind = "list" if self.command == "GET" and {"list-type", "prefix"} & set(asked) else self.command.lower()
            counts[kind] += 1
            seen.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            there = HTTPConnection(server.hostname, server.port)
            there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    there.putheader(name, value)
            there.endheaders(body)
            answer = there.getresponse()
            data = answer.read()
            there.close()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on

        def log_message(self, *_):
            pass

    seen = counts.seen = []
    way = ThreadingHTTPServer(("127.0.0.1", 0), Way)
    way.daemon_threads = True
    thread = threading.Thread(target=way.serve_forever)
    thread.start()
    try:
        yield {**options, "endpoint_url": f"http://127.0.0.1:{way.server_port}"}, counts
    finally:
        way.shutdown()
        thread.join()
        way.server_close()


@pytest.mark.parametrize("library", ["obstore", "fsspec"])
@pytest.mark.parametrize("layout", ["files", "webdataset"])
def test_of_a_run(s3, photos, library, layout):
    with dask.config.set({"kaleidoscope.object-store": library}), counting(s3) as (options, counts):
        name = f"{library}-{layout}"
        local = ks.augment(photos, ops.HorizontalFlip(), seed=7)
        local.write(f"s3://photos/{name}", storage_options=s3).compute()
        counts.clear()
        counts.seen.clear()
        dataset = ks.read_images(f"s3://photos/{name}/", storage_options=options)
        views = ks.augment(dataset, [ops.HorizontalFlip(), ops.GaussNoise()], seed=7)
        print("\nlisting", dict(counts))
        counts.clear()
        counts.seen.clear()
        said = views.estimate(f"s3://out/{name}", layout=layout, images=2)
        print("estimate", dict(counts), said.requests)
        counts.clear()
        counts.seen.clear()
        report = views.write(f"s3://out/{name}", layout=layout).compute()
        print("run", dict(counts), report.outputs)
        for one in counts.seen:
            print(one)
