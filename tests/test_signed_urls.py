"""URLs that open what they name: no key, error or traceback holds what opens it."""

import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import dask
import numpy as np
import pandas as pd
import pytest

import kaleidoscope as ks
from kaleidoscope import ops, retries
from kaleidoscope.errors import KaleidoscopeError, RecipeError, StoreError
from kaleidoscope.index import read_index
from kaleidoscope.sources import list_images
from kaleidoscope.storage import Store, filesystem, read_url, store_errors
from kaleidoscope.urls import public

#: Two of one object, as signed today and tomorrow; a credential has slashes, some are not quoted.
TODAY = "X-Amz-Credential=AKIA/20260101/eu&X-Amz-Signature=SIGSIG"
TOMORROW = "X-Amz-Credential=AKIA/20260102/eu&X-Amz-Signature=SIGSOG"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos in folders."""
    top = tmp_path_factory.mktemp("served")
    for name in ("c0/000.jpg", "c0/001.jpg", "c1/000.jpg"):
        (top / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(top / name), np.random.default_rng(len(name)).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return top


@pytest.fixture(scope="module")
def web(folder):
    """The URL of a web server that serves them, whatever stands behind a question mark."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().split(' port ')[1].split()[0]}"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@contextmanager
def refusing(status):
    """Yield the URL of a web server that answers everything with that."""

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(status)

        do_HEAD = do_GET  # noqa: N815 - as above

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class TestAKey:
    """Is the same whoever signed the URL, and when."""

    @pytest.mark.parametrize("behind", [f"?{TODAY}", f"?{TOMORROW}#top", "#top", ""])
    def test_of_one_url(self, web, behind):
        (entry,) = list_images(f"{web}/c0/000.jpg{behind}").entries
        assert (entry.key, entry.url) == ("000.jpg", f"{web}/c0/000.jpg{behind}")

    def test_under_a_root(self, web):
        urls = [f"{web}/c0/000.jpg?{TODAY}", f"{web}/c1/000.jpg?{TODAY}"]
        assert list_images(urls, root=web).entries.keys.tolist() == ["c0/000.jpg", "c1/000.jpg"]
        assert list_images(urls[0], root=f"{web}/?{TOMORROW}").entries.keys.tolist() == ["c0/000.jpg"]

    def test_of_a_list(self, web):
        host = web.removeprefix("http://")
        listing = list_images([f"{web}/c0/000.jpg?{TODAY}", f"{web}/c1/000.jpg#top"])
        assert listing.entries.keys.tolist() == [f"{host}/c0/000.jpg", f"{host}/c1/000.jpg"]

    def test_that_two_urls_of_a_list_have_is_refused(self, web):
        with pytest.raises(RecipeError, match=r"two images have the key '127.0.0.1:\d+/c0/000.jpg'") as refused:
            list_images([f"{web}/c0/000.jpg?{TODAY}", f"{web}/c0/000.jpg?{TOMORROW}"])
        assert "SIG" not in str(refused.value)

    def test_of_a_glob(self, web):
        assert list_images(f"{web}/c0/*.jpg").entries.keys.tolist() == ["000.jpg", "001.jpg"]

    @pytest.mark.parametrize("root", [None, "root"])
    def test_of_an_index(self, web, root, tmp_path):
        urls = [f"{web}/c0/000.jpg?{TODAY}", f"{web}/c1/000.jpg?{TODAY}"]
        pd.DataFrame({"url": urls}).to_csv(tmp_path / "a.csv", index=False)
        host = "" if root else web.removeprefix("http://") + "/"
        listing = read_index(tmp_path / "a.csv", root=root and web)
        assert listing.entries.keys.tolist() == [f"{host}c0/000.jpg", f"{host}c1/000.jpg"]
        assert [entry.url for entry in listing.entries] == urls

    def test_of_an_index_that_is_signed_itself(self, web, folder):
        pd.DataFrame({"key": ["c0/000.jpg", f"c1/000.jpg?{TODAY}"]}).to_csv(folder / "keys.csv", index=False)
        listing = read_index(f"{web}/keys.csv?{TODAY}")
        assert listing.entries.keys.tolist() == ["c0/000.jpg", "c1/000.jpg"]
        assert listing.entries[0].url == f"{web}/c0/000.jpg"

    def test_of_an_index_of_names_on_a_server(self, web, tmp_path):
        pd.DataFrame({"key": [f"000.jpg?{TODAY}", "001.jpg"]}).to_csv(tmp_path / "a.csv", index=False)
        listing = read_index(tmp_path / "a.csv", root=f"{web}/c0")
        assert listing.entries.keys.tolist() == ["000.jpg", "001.jpg"]
        assert listing.entries[0].url == f"{web}/c0/000.jpg?{TODAY}"

    def test_of_a_file_has_its_question_mark(self, folder, tmp_path):
        (tmp_path / "why?#1.jpg").write_bytes((folder / "c0/000.jpg").read_bytes())
        assert list_images([tmp_path / "why?#1.jpg"], root=tmp_path).entries.keys.tolist() == ["why?#1.jpg"]
        assert list_images(["s3://raw/why?#1.jpg"]).entries.keys.tolist() == ["raw/why?#1.jpg"]

    def test_is_all_that_a_target_holds_of_the_url(self, web, tmp_path):
        ks.augment(f"{web}/c0/000.jpg?{TODAY}", ops.HorizontalFlip()).write(tmp_path).compute(scheduler="sync")
        files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
        assert {name for name in files if name.endswith(".jpg")} == {"000__hflip.jpg"}
        assert not any("SIG" in name or b"SIGSIG" in data for name, data in files.items())
        assert set(pd.read_parquet(tmp_path / "_kaleidoscope" / "manifest")["key"]) == {"000.jpg"}

    def test_signed_anew_is_not_made_anew(self, web, tmp_path):
        made = []
        for signature in (TODAY, TOMORROW):
            views = ks.augment(f"{web}/c0/000.jpg?{signature}", ops.HorizontalFlip())
            views.write(tmp_path).compute(scheduler="sync")
            made.append({path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")})
        assert made[0] == made[1]


@pytest.mark.parametrize("secret", ["SECRETPW", "SECRET/PW", "SEC@RETPW"])
@pytest.mark.parametrize("scheme", ["s3", "s3a", "zip://a.jpg::s3"])
def test_credentials_before_a_bucket_are_refused_and_not_shown(scheme, secret):
    url = f"{scheme}://AKIA:{secret}@raw/plain"
    for ask in (list_images, Store, filesystem, read_url, lambda url: list_images([url])):
        with pytest.raises(KaleidoscopeError, match=r"environment, a profile, or storage_options") as refused:
            ask(url)
        shown = "".join(traceback.format_exception(refused.value))
        assert not any(word in shown for word in ("AKIA:", *secret.replace("@", "/").split("/")) if word != "PW")


def test_an_access_point_is_a_bucket():
    arn = "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"
    assert Store(arn, {"anon": True}).url.startswith(arn)


@pytest.mark.parametrize(("status", "said", "again"), [(400, "Bad Request", 0), (503, "Service Unavailable", 1)])
def test_no_cause_of_an_error_shows_a_signature(status, said, again, caplog, monkeypatch):
    monkeypatch.setattr(retries, "_teller", retries._Teller())
    with (
        refusing(status) as web,
        dask.config.set({"kaleidoscope.store-tries": 2}),
        pytest.raises(StoreError) as refused,
    ):
        read_url(f"{web}/000.jpg?{TODAY}")
    assert str(refused.value) == (
        f"cannot read {web}/000.jpg: ClientResponseError: {status}, message='{said}', url='{web}/000.jpg'"
    )
    assert "SIG" not in "".join(traceback.format_exception(refused.value)) + caplog.text
    assert caplog.text.count("try 2 of 2") == again, "what was asked for wrongly is asked once"


def fail(cause):
    raise OSError("broken") from cause


def test_no_cause_of_a_cause_shows_one():
    with pytest.raises(StoreError) as refused, store_errors("read a"):
        fail(ValueError(f"at http://host/a.jpg?{TODAY}"))
    assert "SIG" not in "".join(traceback.format_exception(refused.value))


def test_a_cause_that_shows_nothing_is_kept():
    with pytest.raises(StoreError, match="cannot read a: OSError: broken") as refused, store_errors("read a"):
        fail(None)
    assert isinstance(refused.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot list http://h/a.jpg?sig=S: denied", "cannot list http://h/a.jpg: denied"),
        ("url='http://h/a.jpg?sig=S', again", "url='http://h/a.jpg', again"),
        ('("http://h/a.jpg?sig=S")', '("http://h/a.jpg")'),
        ("see http://h/a.jpg?sig=S.", "see http://h/a.jpg."),
        ("see http://h/a.jpg?policy=a,'S) next", "see http://h/a.jpg) next"),
        ("see http://h/a b.jpg?sig=S and s3://b/why?.jpg", "see http://h/a b.jpg and s3://b/why?.jpg"),
        ("http://h/a?sig=S. http://h/b?sig=S", "http://h/a. http://h/b"),
        ("http://h/a.jpg?sig=S.", "http://h/a.jpg"),
    ],
)
def test_cleaning_a_text_keeps_its_punctuation(text, shown):
    assert public(text) == shown
