"""The requests that an estimate speaks of are those that a server gets: counted on the way to it."""

import threading
import time
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

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on  # noqa: N815 - as http.server calls them

        def log_message(self, *_):
            pass

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


@pytest.mark.parametrize("layout", ["files", "webdataset"])
@pytest.mark.parametrize("library", ["obstore", "fsspec"])
def test_they_are_what_the_estimate_said(s3, photos, library, layout):
    """``PUT`` exactly; of the others, two for each second that a run may take longer than it was thought to."""
    name = f"requests-{library}-{layout}"
    ks.augment(photos, ops.HorizontalFlip(), seed=7).write(f"s3://photos/{name}", storage_options=s3).compute()
    with dask.config.set({"kaleidoscope.object-store": library}), counting(s3) as (options, counts):
        dataset = ks.read_images(f"s3://photos/{name}/", storage_options=options)
        listing = counts.pop("list")
        views = ks.augment(dataset, [ops.HorizontalFlip(), ops.GaussNoise()], seed=7)
        said = views.estimate(f"s3://out/{name}", layout=layout, images=2)
        counts.clear()
        started = time.monotonic()
        report = views.write(f"s3://out/{name}", layout=layout).compute()
        seconds = time.monotonic() - started
    assert report.outputs == 48
    assert said.requests["put"] == counts["put"]
    # Not those of the report: the lease is looked at each second from when it was taken, and that is before the run is
    # open, from where the report counts.
    late = 2 * int(seconds + 1)
    assert abs(said.requests["get"] - counts["get"] - counts["head"]) <= late
    assert abs(said.requests["list"] - counts["list"] - listing) <= 2


@pytest.mark.parametrize(("library", "each"), [("obstore", 1), ("fsspec", 2)])
def test_a_probe_knows_how_many_requests_it_asks_by(s3, photos, library, each):
    views = ks.augment(photos, ops.HorizontalFlip(), seed=7)
    settings = {"kaleidoscope.writes-at-once": 2, "kaleidoscope.object-store": library}
    with counting(s3) as (options, counts), dask.config.set(settings):
        views.estimate("s3://out/probe", storage_options=options, images=1)
        usual = counts.total()
        counts.clear()
        said = views.estimate("s3://out/probe", storage_options=options, images=1, probe=True)
    threads = said.threads
    # s3fs asks three times whether there is a bucket where nothing is.
    assert counts.total() - usual == 3 + each * (6 + (1 + 8) * 2 * threads)
    assert 0 < said.latency < 5
