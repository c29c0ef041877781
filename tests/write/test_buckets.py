"""Buckets: how many requests a listing takes, in which order, and names that no folder can hold, in and out."""

import gzip
import io
import json
import threading
import urllib.parse

import cv2
import dask
import fsspec
import numpy as np
import pytest
import werkzeug.serving

import kaleidoscope as ks
from kaleidoscope import buckets, objects, ops
from kaleidoscope.errors import RecipeError, StoreError
from kaleidoscope.objects import ObstoreObjects
from kaleidoscope.sources import list_images
from kaleidoscope.storage import Store

LIBRARIES = ["obstore", "fsspec"]


class Counted:
    """A server of S3 in this process, which notes what it is asked for, and is filled from behind."""

    def __init__(self):
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.requests, self._app = [], DomainDispatcherApplication(create_backend_app)
        self._server = werkzeug.serving.make_server("127.0.0.1", 0, self._noted, threaded=True)
        self.options = {
            "key": "kaleidoscope",
            "secret": "only-for-this-test",
            "endpoint_url": f"http://127.0.0.1:{self._server.port}",
        }
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _noted(self, environ, start_response):
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ))
        return self._app(environ, start_response)

    @property
    def lists(self):
        """What each listing asked for."""
        asked = (urllib.parse.parse_qs(e["QUERY_STRING"]) for method, _, e in self.requests if method == "GET")
        return [{name: values[0] for name, values in query.items()} for query in asked if "list-type" in query]

    @property
    def inside(self):
        from moto.backends import get_backend

        return get_backend("s3")["123456789012"]["aws"]

    def fill(self, bucket, keys):
        """Put one byte under each key, into a bucket that has nothing else."""
        if bucket not in self.inside.buckets:
            self.inside.create_bucket(bucket, "us-east-1")
        for key in keys:
            self.inside.put_object(bucket, key, b"" if key.endswith("/") else b"1")


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("moto.server")
    with Counted() as counted, pytest.MonkeyPatch.context() as env:
        env.setenv("AWS_DEFAULT_REGION", "us-east-1")
        env.setenv("MOTO_S3_DEFAULT_MAX_KEYS", str(PAGE))
        yield counted


@pytest.fixture(params=LIBRARIES)
def library(request):
    with dask.config.set({"kaleidoscope.object-store": request.param}):
        yield request.param


FLAT = [f"flat/{number:05d}.jpg" for number in range(90)]
MANY = [f"many/{folder:04d}/{number}.jpg" for folder in range(120) for number in range(2)]
DEEP = [f"deep/one/train/{folder:02d}/{number:04d}.jpg" for folder in range(20) for number in range(6)]
PAGE = 40  # keys that this server tells in one answer


@pytest.fixture(scope="module")
def full(server):
    """A bucket with folders of many answers: flat, in many folders, and in a few that lie deep, all small."""
    server.fill("full", [*FLAT, *MANY, *DEEP, "few/a.jpg", "few/b/c.png", "few/notes.txt"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "_AT_ONCE", 4)
        patch.setattr(buckets, "_STRETCHES", 8)
        patch.setattr(objects, "_A_PAGE", PAGE)
        yield server


@pytest.mark.parametrize(
    ("folder", "keys", "most"),
    [
        ("few", ["few/a.jpg", "few/b/c.png"], 1),
        ("flat", FLAT, 1 + 1 + 3),  # a page, a look for folders, and the three pages from one place
        ("many", MANY, 1 + 3 + 6 + 8),  # a page, looks for folders, their pages, and one that each stretch begins
        ("deep", DEEP, 1 + 3 + 3 + 8),
    ],
)
def test_a_listing_takes_few_requests_and_finds_all_once_in_order(full, library, folder, keys, most):
    full.requests.clear()
    told = []
    listing = list_images(f"s3://full/{folder}", storage_options=full.options, tell=told.append)
    assert listing.entries.keys.tolist() == [key.partition("/")[2] for key in sorted(keys)]
    assert listing.entries.urls == f"s3://full/{folder}/"
    assert {entry.size for entry in listing.entries} == {1}
    assert all(len(entry.etag) == 32 for entry in listing.entries)
    assert sum(told) >= len(keys)
    assert len(full.requests) <= most
    assert len(full.lists) == len(full.requests)


def test_many_folders_are_listed_from_several_places_at_once(full, library):
    full.requests.clear()
    list_images("s3://full/many", storage_options=full.options)
    starts = {query["start-after"] for query in full.lists if "start-after" in query}
    assert len(starts) == buckets._STRETCHES - 1
    assert len(full.requests) < 120 / 2, "not one for each folder"


def test_what_sorts_between_a_folder_and_its_name_comes_once(server, full, library):
    """A dot and a minus come before the slash, and a listing may begin at any folder."""
    keys = [f"{folder}{rest}" for folder in range(10, 40) for rest in (".jpg", "-1.jpg", "/a.jpg", "/b.jpg", "0.jpg")]
    server.fill("between", keys)
    assert list_images("s3://between", storage_options=server.options).entries.keys.tolist() == sorted(keys)


@pytest.mark.parametrize("fault", ["unordered", "from the beginning"])
def test_a_server_that_cannot_list_from_a_place_is_listed_from_the_beginning(full, monkeypatch, fault):
    request = buckets.Bucket._request

    def otherwise(self, **what):
        if fault == "from the beginning":
            what.pop("StartAfter", None)
            return request(self, **what)
        page = dict(request(self, **what))
        page["Contents"] = page.get("Contents", [])[::-1]
        return page

    monkeypatch.setattr(buckets.Bucket, "_request", otherwise)
    with dask.config.set({"kaleidoscope.object-store": "fsspec"}):
        listing = list_images("s3://full/deep", storage_options=full.options)
    assert listing.entries.keys.tolist() == [key.removeprefix("deep/") for key in DEEP]


def test_a_glob_asks_for_what_begins_like_it_only(full, library):
    full.requests.clear()
    listing = list_images("s3://full/deep/one/train/1[37]/00*5.jpg", storage_options=full.options)
    assert listing.entries.keys.tolist() == [f"{f}/{n:04d}.jpg" for f in (13, 17) for n in (5,)]
    assert {query["prefix"] for query in full.lists} == {
        "deep/one/train/1[37]/00*5.jpg/",
        *(query["prefix"] for query in full.lists if query["prefix"].startswith("deep/one/train/1")),
    }


def test_a_root_above_lengthens_keys_and_one_beside_is_refused(full, library):
    options = full.options
    assert list_images("s3://full/few", root="s3://full", storage_options=options).entries[0].key == "few/a.jpg"
    assert list_images("s3://full/few/b/", root="s3://full/few", storage_options=options).entries[0].key == "b/c.png"
    for root in ("s3://full/flat", "s3://elsewhere", "s3://full/fe"):
        with pytest.raises(RecipeError, match="does not lie in the root"):
            list_images("s3://full/few", root=root, storage_options=options)


def test_one_object_is_listed_by_its_folder(full, library):
    (entry,) = list_images("s3://full/few/b/c.png", storage_options=full.options).entries
    assert (entry.key, entry.url, entry.size) == ("c.png", "s3://full/few/b/c.png", 1)


def test_what_lies_twice_under_a_name_and_what_only_looks_like_a_folder(server, library):
    """A key, and keys below it as if it were a folder; objects of no bytes that stand for folders; empty parts."""
    server.fill("odd", ["a.jpg", "a.jpg/b.jpg", "c/", "c/d/", "c/e.jpg", "f//g.jpg", "h/./i.jpg", "j.jpg/"])
    keys = list_images("s3://odd", storage_options=server.options).entries.keys.tolist()
    assert keys == ["a.jpg", "a.jpg/b.jpg", "c/e.jpg", "f//g.jpg"]
    assert list_images("s3://odd/c", storage_options=server.options).entries.keys.tolist() == ["e.jpg"]
    with pytest.raises(StoreError, match="there are no images in"):
        list_images("s3://odd/c/d", storage_options=server.options)


def test_a_path_that_obstore_cannot_spell_ends_no_listing(server, library, monkeypatch):
    monkeypatch.setattr(buckets, "_AT_ONCE", 2)
    plain = [f"{folder}/{number:04d}.jpg" for folder in "abcd" for number in range(40)]
    server.fill("unspellable", [*plain, "b/0010//x.jpg"])
    listing = list_images("s3://unspellable", storage_options=server.options)
    assert listing.entries.keys.tolist() == sorted([*plain, "b/0010//x.jpg"])


def test_a_versioned_bucket_shows_what_is_there_now(server, library):
    server.inside.create_bucket(f"versioned-{library}", "us-east-1")
    server.inside.put_bucket_versioning(f"versioned-{library}", "Enabled")
    for body in (b"1", b"22"):
        server.inside.put_object(f"versioned-{library}", "kept.jpg", body)
        server.inside.put_object(f"versioned-{library}", "gone.jpg", body)
    server.inside.delete_object(f"versioned-{library}", "gone.jpg")
    (entry,) = list_images(f"s3://versioned-{library}", storage_options=server.options).entries
    assert (entry.key, entry.size) == ("kept.jpg", 2)


def test_a_public_bucket_is_asked_without_a_signature_and_one_whose_requester_pays_is_told_so(full, library):
    place = {"endpoint_url": full.options["endpoint_url"]}
    full.requests.clear()
    assert len(list_images("s3://full/deep", storage_options={**place, "anon": True}).entries) == len(DEEP)
    assert full.requests
    assert not any("HTTP_AUTHORIZATION" in environ for _, _, environ in full.requests)
    full.requests.clear()
    list_images("s3://full/deep", storage_options={**full.options, "requester_pays": True})
    assert {environ.get("HTTP_X_AMZ_REQUEST_PAYER") for _, _, environ in full.requests} == {"requester"}


def test_long_listings_are_told_of_as_they_come(full, library):
    told = []
    list_images("s3://full/many", storage_options=full.options, tell=told.append)
    assert len(told) >= 8
    assert sum(told) == len(MANY)


# ------------------------------------------------------------------------------------ from a bucket into a bucket

AWKWARD = [
    *(
        "sp ace.png",
        "plus+plus.png",
        "100%.png",
        "a%20b.png",
        "hash#1.png",
        "what?q=1&r=2.png",
        "日本/ü \U0001f600.png",
    ),
    *("=a;b,c.png", "'quo\"te.png", "~/@$!.png", "(1) [2] {3}.png", "a:b::c.png"),
    *("/".join(["ü" * 60] * 7) + "é" * 27,),
]
ONLY_IN_BUCKETS = ["a.png", "a.png/b.png", "é" * 446 + ".png", "c//d.png", "e/./f.png", "folder/", "folder/g/"]


def small(number):
    return np.full((4, 6, 3), 3 * number, np.uint8)


def check_copied(options, keys, source, target, library, out_options=None):
    """Write the variants of all keys into another bucket; check names, pixels, and that nothing is left to do."""
    out_options = out_options or options
    dataset = ks.read_images(source, storage_options=options)
    assert dataset.listing.entries.keys.tolist() == sorted(keys)
    run = ks.augment(dataset, [ops.HorizontalFlip()]).write(target, format="npy", storage_options=out_options)
    report = run.compute()
    assert (report.inputs, report.outputs, report.failed) == (len(keys), 2 * len(keys), 0), report.errors.to_string()
    store = Store(target, out_options)
    assert isinstance(store.objects, ObstoreObjects) == (library == "obstore")
    rows = report.manifest.compute()
    assert rows["output"].is_unique
    assert set(rows["output"]) == {name for name in store.find() if not name.startswith("_kaleidoscope/")}
    for row in rows.itertuples():
        np.testing.assert_array_equal(np.load(io.BytesIO(store.read(row.output))), small(keys.index(row.key)))
    assert run.left == 0


def names_of(keys):
    """Return keys that end as images do."""
    return [key if key.endswith((".png", "/")) else f"{key}.png" for key in keys]


def test_awkward_names_go_through_a_server_of_files(s3, library):
    keys = names_of(AWKWARD)
    assert max(len(key.encode()) for key in keys) >= 900
    fs = fsspec.filesystem("s3", use_listings_cache=False, **s3)
    for number, key in enumerate(keys):
        fs.pipe_file(f"photos/awkward/{key}", cv2.imencode(".png", small(number))[1].tobytes())
    check_copied(s3, keys, "s3://photos/awkward/", f"s3://out/of awkward-{library}", library)


@pytest.mark.parametrize("access", ["anonymous", "requester pays"])
def test_awkward_names_go_through_a_server_of_objects(server, library, access):
    """Also a key beside keys below it, objects of no bytes that stand for folders, and parts that are no names."""
    from moto.s3.models import get_canned_acl

    keys = names_of([*AWKWARD, *ONLY_IN_BUCKETS])
    bucket = f"awkward-{library}-{access.partition(' ')[0]}"
    for name in (bucket, f"{bucket}-out"):
        server.inside.create_bucket(name, "us-east-1")
    for number, key in enumerate(keys):
        data = b"" if key.endswith("/") else cv2.imencode(".png", small(number))[1].tobytes()
        there = server.inside.put_object(bucket, key, data)
        if access == "anonymous":
            there.set_acl(get_canned_acl("public-read"))
    options = dict(server.options)
    if access == "anonymous":
        options = {"anon": True, "endpoint_url": options["endpoint_url"]}
    elif access == "requester pays":
        options["requester_pays"] = True
    server.requests.clear()
    there = [key for key in keys if not key.endswith("/") and "/./" not in key]
    numbered = [key for key in keys if key in there]
    assert [keys.index(key) for key in numbered] == list(range(len(AWKWARD) + 4))
    check_copied(options, numbered, f"s3://{bucket}", f"s3://{bucket}-out/a b#1", library, server.options)
    asked = [environ for _, path, environ in server.requests if path.startswith(f"/{bucket}/") or path == f"/{bucket}"]
    assert len(asked) > len(there)
    assert all("HTTP_AUTHORIZATION" in environ for environ in asked) == (access != "anonymous")
    payers = {environ.get("HTTP_X_AMZ_REQUEST_PAYER") for environ in asked}
    assert payers == ({"requester"} if access == "requester pays" else {None})


def test_an_inventory_in_a_bucket_is_read_from_where_it_says(server, library):
    bucket = f"listed-{library}"
    server.fill(bucket, ["a.jpg", "b/c d.jpg"])
    server.fill(f"{bucket}-lists", [])
    rows = "".join(f'"{bucket}","{key}","1","e"\n' for key in ("b/c+d.jpg", "a.jpg", "b/"))
    said = {
        "destinationBucket": f"arn:aws:s3:::{bucket}-lists",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, ETag",
        "files": [{"key": "inv/data/1.csv.gz"}],
    }
    server.inside.put_object(f"{bucket}-lists", "inv/data/1.csv.gz", gzip.compress(rows.encode()))
    server.inside.put_object(f"{bucket}-lists", "inv/2026-11-21T01-00Z/manifest.json", json.dumps(said).encode())
    url = f"s3://{bucket}-lists/inv/2026-11-21T01-00Z/manifest.json"
    by_index = ks.read_images(url, storage_options=server.options).listing
    by_listing = ks.read_images(f"s3://{bucket}/", storage_options=server.options).listing
    assert [(e.key, e.url, e.size) for e in by_index.entries] == [(e.key, e.url, e.size) for e in by_listing.entries]
    assert by_index.root == by_listing.root
    assert by_index.storage_options == by_listing.storage_options
