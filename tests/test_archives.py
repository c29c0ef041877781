import gzip
import io
import itertools
import os
import re
import struct
import tarfile
import threading
import tracemalloc
import uuid
import zipfile
from pathlib import Path

import dask
import fsspec
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

import kaleidoscope as ks
from kaleidoscope import unpacked as unpacking
from kaleidoscope.archives import is_archive, named_by_braces, read_file
from kaleidoscope.errors import KaleidoscopeError, RecipeError, StoreError
from kaleidoscope.members import Member, name_of
from kaleidoscope.objects import FsspecObjects
from kaleidoscope.ranged import FAR_WINDOW, WINDOW
from kaleidoscope.sources import entry_of, list_images

KINDS = ["stored.zip", "deflated.zip", "plain.tar", "packed.tar.gz", "packed.tgz"]
ODD_NAMES = [
    *("a b.jpg", "ü/日本.JPG", "x#1.png", "50%.jpg", "100%25.png", "s/q?.jpg", "s/[1].jpg", "~.jpg", "x::y.jpg"),
    *("me@home:1/z.jpg", "#0-1,2,00000000.jpg", "l" * 120 + "/" + "m" * 150 + ".jpg"),
]


def packed(kind, files):
    """Return the bytes of an archive of some files: pairs of name and content."""
    file = io.BytesIO()
    if kind.endswith(".zip"):
        method = zipfile.ZIP_DEFLATED if kind.startswith("deflated") else zipfile.ZIP_STORED
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, content in files:
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w" if kind.endswith(".tar") else "w:gz") as archive:
            for name, content in files:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def contents(*names):
    """Return a file for each name, of its own size and content."""
    return [(name, name.encode() * (place + 3)) for place, name in enumerate(names)]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def make(tmp_path):
    """Return a function that writes an archive into a folder of its own."""

    def make(kind, *names, files=None):
        path = tmp_path / kind
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed(kind, files or contents(*names)))
        return path

    return make


@pytest.fixture
def far(monkeypatch):
    """Return a function that puts bytes into a store that is not this disk; ``far.read`` are the ranges read there."""
    ranges = []
    get_range = FsspecObjects.get_range
    monkeypatch.setattr(
        FsspecObjects, "get_range", lambda self, path, *span: ranges.append(span) or get_range(self, path, *span)
    )

    def put(name, data):
        url = f"memory://{uuid.uuid4().hex}/{name}"
        with fsspec.open(url, "wb") as file:
            file.write(data)
        return url

    put.read = ranges
    return put


def keys(listing):
    return [entry.key for entry in listing.entries]


def read(listing):
    return {entry.key: read_file(entry.url) for entry in listing.entries}


# ------------------------------------------------------------------------------------ what is in them


def test_an_archive_gives_its_images_by_their_names_sorted(make, kind):
    path = make(kind, "b.jpg", "a.png", "c/a.jpg", "a.txt", "a/z.JPEG", "noextension", "./d.jpg")
    listing = list_images(path)
    assert keys(listing) == ["a.png", "a/z.JPEG", "b.jpg", "c/a.jpg", "d.jpg"]
    assert listing.root == str(path)
    assert [entry.size for entry in listing.entries] == [len(data) for data in read(listing).values()]


def test_members_are_what_was_packed(make, kind):
    files = contents("b.jpg", "a.png", "c/a.jpg")
    assert read(list_images(make(kind, files=files))) == dict(files)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_member_may_have_any_name(make, kind, name):
    files = contents(name)
    assert read(list_images(make(kind, files=files))) == dict(files)


def test_an_empty_member_is_read(make, kind):
    assert read(list_images(make(kind, files=[("a.jpg", b""), ("b.jpg", b"1")]))) == {"a.jpg": b"", "b.jpg": b"1"}


def test_what_is_hidden_or_ours_is_passed_by(make, kind):
    names = (".a.jpg", ".t/a.jpg", "b/.c/d.jpg", "__MACOSX/a.jpg", "c/__MACOSX/._a.jpg", "_kaleidoscope/a.jpg", "e.jpg")
    assert keys(list_images(make(kind, *names))) == ["e.jpg"]


def test_links_devices_and_folders_are_passed_by(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for of in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"{of!r}.jpg")
            info.type, info.linkname = of, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("a.jpg"))
    assert keys(list_images(tmp_path / "a.tar")) == ["a.jpg"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("folder.jpg")
        archive.writestr("a.jpg", b"1")
    assert keys(list_images(tmp_path / "a.zip")) == ["a.jpg"]


@pytest.mark.parametrize("name", ["../a.jpg", "b/../../a.jpg", "/etc/a.jpg", "C:/a.jpg", "..\\a.jpg", "\\a.jpg"])
def test_a_member_that_leads_out_is_refused(make, kind, name):
    with pytest.raises(StoreError, match=r"cannot list .*: the member .* leads out of the archive: pack it again"):
        list_images(make(kind, "b.jpg", name))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_members_of_one_name_are_refused(make, kind):
    with pytest.raises(StoreError, match=r"cannot list .*: it holds two members called 'a.jpg': pack it again"):
        list_images(make(kind, "a.jpg", "b.jpg", "./a.jpg"))


def test_an_archive_without_images_is_refused(make, kind):
    with pytest.raises(StoreError, match=r"there are no images in .*: looked into 1 archives"):
        list_images(make(kind, "a.txt"))


# ------------------------------------------------------------------------------------ several of them


@pytest.fixture
def shards(tmp_path):
    """Three shards in two kinds, and a file that is none."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, kind in enumerate((".tar", ".tar", ".tar.gz")):
        names = contents(f"{number}/b.jpg", f"{number}/a.jpg", f"{number}/a.json")
        (folder / f"train-{number:03d}{kind}").write_bytes(packed(kind, names))
    (folder / "README.md").write_text("not an archive")
    (folder / ".hidden.tar").write_bytes(packed(".tar", contents("h.jpg")))
    return folder


ALL = ["0/a.jpg", "0/b.jpg", "1/a.jpg", "1/b.jpg", "2/a.jpg", "2/b.jpg"]


def test_several_archives_have_the_keys_that_they_would_have_in_one(shards):
    assert keys(list_images(shards)) == ALL
    assert keys(list_images(shards / "train*")) == ALL
    assert keys(list_images(shards / "train-{000,001}.tar")) == ALL[:4]
    assert keys(list_images(f"{shards}/train-{{000..001}}.tar")) == ALL[:4]
    assert keys(list_images(shards / "train-000.tar")) == ALL[:2]
    in_order = ["1/b.jpg", "1/a.jpg", "0/b.jpg", "0/a.jpg"]
    assert keys(list_images([shards / "train-001.tar", shards / "train-000.tar"])) == in_order


def test_with_a_root_the_names_of_the_archives_are_part_of_the_keys(shards):
    one = ["train-000/0/a.jpg", "train-000/0/b.jpg"]
    assert keys(list_images(shards / "train-000.tar", root=shards)) == one
    assert keys(list_images(shards / "t*.tar", root=shards.parent))[:2] == [f"shards/{key}" for key in one]
    assert keys(list_images([shards / "train-002.tar.gz"], root=shards)) == ["train-002/2/b.jpg", "train-002/2/a.jpg"]
    assert keys(list_images(shards / "train-000.tar", root=shards / "train-000.tar")) == ALL[:2]
    with pytest.raises(RecipeError, match=r"train-000.tar does not lie in the root .*elsewhere"):
        list_images(shards / "train-000.tar", root=shards.parent / "elsewhere")


def test_equal_names_in_two_archives_are_refused_and_told_apart_by_a_root(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / f"{name}.zip").write_bytes(packed("stored.zip", contents("1.jpg")))
    with pytest.raises(
        RecipeError, match=r"two images have the key '1.jpg': .*cats.zip.* and .*dogs.zip.*; pass root="
    ):
        list_images(tmp_path)
    assert keys(list_images(tmp_path, root=tmp_path)) == ["cats/1.jpg", "dogs/1.jpg"]


def test_archives_and_files_may_stand_in_one_list(shards, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"1")
    several = list_images([tmp_path / "x.jpg", shards / "train-000.tar"])
    assert keys(several) == [str(tmp_path / "x.jpg").lstrip("/"), "0/b.jpg", "0/a.jpg"]


def test_a_folder_of_images_passes_archives_by(shards):
    (shards / "a.jpg").write_bytes(b"1")
    assert keys(list_images(shards)) == ["a.jpg"]


def test_a_shard_that_is_not_there_is_named(shards):
    with pytest.raises(StoreError, match=r"cannot list .*train-002\.tar: there is nothing there"):
        list_images(f"{shards}/train-{{000..002}}.tar")


def test_braces_that_stand_for_too_much_are_refused():
    with pytest.raises(StoreError, match="more than 1,000,000 names"):
        named_by_braces("{0..999999999999}.tar")


def test_a_file_that_has_braces_in_its_name_is_that_file(tmp_path):
    (tmp_path / "a{1,2}.tar").write_bytes(packed(".tar", contents("x.jpg")))
    assert keys(list_images(tmp_path / "a{1,2}.tar")) == ["x.jpg"]


@pytest.mark.parametrize("name", ["a.rar", "a.7z", "a.tar.xz", "a.TAR.BZ2"])
def test_archives_of_other_kinds_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(StoreError, match=r"expected an archive that ends in \.zip, \.tar, \.tar\.gz, \.tgz"):
        list_images(tmp_path / name)


def test_a_signature_behind_a_url_is_no_part_of_its_name():
    assert is_archive("https://host/a.zip?X-Amz-Signature=abc")
    assert not is_archive("s3://bucket/a.zip?")


# ------------------------------------------------------------------------------------ reading, counted


def test_a_zip_file_is_listed_by_one_read_of_its_end(far):
    files = [(f"{i}.jpg", os.urandom(30_000)) for i in range(100)]
    url = far("a.zip", packed("deflated.zip", files))
    listing = list_images(url)
    assert len(far.read) == 1
    assert far.read[0][1] - far.read[0][0] <= 2**18
    far.read.clear()
    assert read(listing) == dict(files)
    assert len(far.read) == 100, "one request for each image"
    assert sum(end - start for start, end in far.read) < sum(len(data) + 200 for _, data in files)


def test_the_list_of_a_large_zip_file_takes_two_reads(far):
    url = far("a.zip", packed("stored.zip", [(f"{i:06d}-{'x' * 100}.jpg", b"") for i in range(3000)]))
    assert len(list_images(url).entries) == 3000
    assert len(far.read) == 2


def test_a_tar_file_of_large_members_is_listed_by_their_headers(far):
    files = [(f"{i}.jpg", bytes(WINDOW)) for i in range(6)]
    url = far("a.tar", packed(".tar", files))
    listing = list_images(url)
    assert len(far.read) <= 8
    assert sum(end - start for start, end in far.read) < WINDOW + 8 * FAR_WINDOW
    far.read.clear()
    assert read_file(listing.entries[5].url) == bytes(WINDOW)
    ((start, end),) = far.read
    assert end - start == WINDOW + tarfile.BLOCKSIZE


def test_a_tar_file_of_small_members_is_listed_by_few_reads(far):
    url = far("a.tar", packed(".tar", [(f"{i}.jpg", bytes(20_000)) for i in range(500)]))
    assert len(list_images(url).entries) == 500
    assert len(far.read) == -(-500 * 20_992 // WINDOW)


def test_a_compressed_tar_file_is_read_once(far):
    files = [(f"{i}.jpg", os.urandom(30_000)) for i in range(200)]
    data = packed("a.tar.gz", files)
    url = far("a.tar.gz", data)
    assert read(list_images(url)) == dict(files)
    assert sum(end - start for start, end in far.read) == len(data)
    assert len(far.read) == -(-len(data) // WINDOW)


def test_what_is_unpacked_has_no_name_and_is_closed_when_something_else_takes_its_room(make, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(unpacking.tempfile, "tempdir", None)
    (tmp_path / "temporary").mkdir()
    with dask.config.set({"kaleidoscope.unpacked-bytes": 100_000}):
        listings = [list_images(make(f"{i}.tar.gz", files=[(f"{i}.jpg", bytes(60_000))])) for i in range(3)]
        assert list((tmp_path / "temporary").iterdir()) == []
        assert [url for url, _ in unpacking._held if str(tmp_path) in url] == [str(tmp_path / "2.tar.gz")]
        assert [len(data) for listing in listings for data in read(listing).values()] == [60_000] * 3


def test_what_two_tasks_want_at_once_is_unpacked_once(make):
    listing = list_images(make("a.tar.gz", *(f"{i}.jpg" for i in range(8))))
    unpacking._held.clear()
    opened, go = [], threading.Barrier(8)
    fill = unpacking.Unpacked

    def counted(*args):
        opened.append(args)
        return fill(*args)

    def read_one(entry):
        go.wait()
        read_file(entry.url)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacking, "Unpacked", counted)
        threads = [threading.Thread(target=read_one, args=(entry,)) for entry in listing.entries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(opened) == 1


# ------------------------------------------------------------------------------------ what is wrong with them


def test_an_archive_that_was_cut_off_is_refused(make, kind):
    path = make(kind, files=[(f"{i}.jpg", os.urandom(3000)) for i in range(5)])
    whole = path.read_bytes()
    lengths = {0, 1, 511, 1024, 3584, 3584 + 512, 5 * 3584, len(whole) // 2, len(whole) - 1}
    if kind.endswith(".tar"):
        lengths.remove(len(whole) - 1)  # it ends in many zeros
    for length in sorted(length for length in lengths if length < len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"cannot (list|unpack) .*(damaged|cut off)"):
            list_images(path)


def test_what_is_no_archive_is_refused(tmp_path, kind):
    (tmp_path / kind).write_bytes(b"GIF89a" + os.urandom(5000))
    with pytest.raises(StoreError, match=r"cannot list .*(damaged|cut off)"):
        list_images(tmp_path / kind)


def refused(path, match):
    """Check that the first image cannot be read and says why, and that the second can."""
    first, second = list_images(path).entries
    with pytest.raises(StoreError, match=match):
        read_file(first.url)
    assert read_file(second.url) == b"b.jpg" * 4


def changed(path, at, value):
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)


def test_an_encrypted_member_fails_and_says_so(make):
    path = make("stored.zip", "a.jpg", "b.jpg")
    changed(path, 6, b"\x01")
    refused(path, r"'a.jpg' is encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_compressed_otherwise_fails_and_says_so(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for (name, content), how in zip(contents("a.jpg", "b.jpg"), (method, zipfile.ZIP_STORED), strict=True):
            archive.writestr(name, content, how)
    refused(tmp_path / "a.zip", rf"'a.jpg' is compressed by zip's method {method}; expected stored or deflated")


def test_a_member_with_another_checksum_fails(make):
    path = make("stored.zip", "a.jpg", "b.jpg")
    changed(path, 30 + 5, b"X")
    refused(path, "'a.jpg' is damaged, or the archive has changed")


def test_a_member_whose_compression_is_damaged_fails(make):
    path = make("deflated.zip", "a.jpg", "b.jpg")
    changed(path, 30 + 5, b"\xff\xff\xff")
    refused(path, "'a.jpg' is damaged, or the archive has changed")


def test_a_member_larger_than_it_says_is_not_unpacked(make):
    files = [("a.jpg", bytes(10_000_000)), ("b.jpg", b"b.jpg" * 4)]
    path = make("deflated.zip", files=files)
    central = path.read_bytes().index(b"PK\x01\x02")
    changed(path, central + 24, struct.pack("<L", 1000))
    tracemalloc.start()
    refused(path, "'a.jpg' is larger than the 1,000 bytes that the archive says")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5_000_000


def test_members_that_share_their_bytes_are_refused(make):
    path = make("deflated.zip", files=[("a.jpg", bytes(10_000)), ("b.jpg", bytes(10_000))])
    second = path.read_bytes().rindex(b"PK\x01\x02")
    changed(path, second + 42, struct.pack("<L", 0))  # both say that they begin at 0
    with pytest.raises(StoreError, match=r"'[ab].jpg' reaches into the next member"):
        list_images(path)


def test_a_member_above_the_limit_fails(make, kind):
    (entry,) = list_images(make(kind, files=[("a.jpg", bytes(2000))])).entries
    with (
        dask.config.set({"kaleidoscope.max-member-bytes": 1999}),
        pytest.raises(StoreError, match=r"'a.jpg' has 2,000 bytes, more than the 1,999 of the setting"),
    ):
        read_file(entry.url)


def test_a_compressed_tar_file_that_would_fill_the_disk_is_refused(tmp_path):
    with gzip.open(tmp_path / "bomb.tar.gz", "wb") as file:
        file.write(bytes(50_000_000))
    with (
        dask.config.set({"kaleidoscope.unpacked-bytes": 1_000_000}),
        pytest.raises(StoreError, match=r"cannot unpack .*bomb.tar.gz: it unpacks to more than the 0.95 MiB"),
    ):
        list_images(tmp_path / "bomb.tar.gz")


def test_an_archive_that_changes_after_it_was_listed_gives_no_wrong_bytes(make, kind):
    path = make(kind, "a.jpg", "b.jpg")
    entries = list_images(path).entries
    unpacking._held.clear()
    path.write_bytes(packed(kind, [("c.jpg", b"A.jpg" * 3), ("d.jpg", b"x" * 20)]))
    for entry in entries:
        with pytest.raises(StoreError, match=r"changed since it was listed|is not where it was"):
            read_file(entry.url)


def test_a_sparse_member_is_refused(tmp_path):
    info = tarfile.TarInfo("a.jpg")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (0, 512)
    header[483:495] = b"%011o\0" % 1024
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(512) + bytes(1024))
    with pytest.raises(StoreError, match=r"'a.jpg' is stored with holes"):
        list_images(tmp_path / "a.tar")


@pytest.mark.parametrize("size", [-512, -1024, -(2**60)])
def test_a_tar_file_that_leads_back_is_refused(tmp_path, size):
    headers = []
    for name, negative in (("a.jpg", False), ("b.jpg", True)):
        header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
        if negative:
            header[124:136] = b"\xff" + (256**11 + size).to_bytes(11, "big")
            header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
        headers.append(bytes(header))
    (tmp_path / "a.tar").write_bytes(b"".join(headers) + bytes(1024))
    with pytest.raises(StoreError, match=r"cannot list .*leads back"):
        list_images(tmp_path / "a.tar")


def test_errors_show_no_signature():
    member = Member("zip", "a.jpg", "https://host/a.zip?X-Amz-Signature=hunter2", 0, 9, 9, 0)
    with pytest.raises(StoreError, match=r"cannot read a member of https://host/a.zip: 'a.jpg' is not where") as caught:
        member.content(b"")
    assert "hunter2" not in str(caught.value)


@given(st.data())
def test_a_damaged_archive_gives_errors_of_ours_or_what_was_packed(data):
    kind = data.draw(st.sampled_from(KINDS))
    files = contents("a.jpg", "b/c.jpg", "d.jpg")
    broken = bytearray(packed(kind, files))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    url = f"memory://damaged/{uuid.uuid4().hex}-{kind}"
    fs, path = fsspec.core.url_to_fs(url)
    fs.pipe_file(path, bytes(broken))
    try:
        for entry in list_images(url).entries:
            content = read_file(entry.url)
            assert kind.endswith(".tar") or content == dict(files).get(entry.key, content)
    except KaleidoscopeError:
        pass
    finally:
        fs.rm(path)


# ------------------------------------------------------------------------------------ URLs and marks

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(NAMES, NAMES, st.integers(0, 2**50), st.integers(0, 2**40), st.integers(0, 2**32 - 1))
def test_a_url_says_all_of_a_member(name, archive, start, size, mark):
    for kind in ("zip", "tar"):
        member = Member(kind, name, archive, start, start + size, size, mark)
        assert Member.parse(member.url) == member


@given(st.text(st.sampled_from("./\\aC: ")))
def test_no_name_leads_out(name):
    try:
        key = name_of(name)
    except StoreError:
        return
    assert not key.startswith("/")
    assert {"", ".", ".."}.isdisjoint(key.split("/")) or key == ""


def test_the_url_is_one_that_fsspec_opens(make):
    for kind in ("stored.zip", "plain.tar"):
        (entry,) = list_images(make(kind, "cat/1.jpg")).entries
        with fsspec.open(entry.url.partition("#")[0]) as file:
            assert file.read() == read_file(entry.url)


def test_the_entry_of_a_members_url_needs_no_listing(make, kind):
    (entry,) = list_images(make(kind, "cat/1.jpg")).entries
    assert entry_of(entry.url, None, {}) == entry


def test_a_zip_file_that_is_packed_again_has_the_same_marks_for_the_same_members(make):
    before = list_images(make("stored.zip", "a.jpg", "b.jpg")).entries
    files = [("new.jpg", b"1"), ("b.jpg", b"other"), ("a.jpg", b"a.jpg" * 3)]
    after = {entry.key: entry for entry in list_images(make("stored.zip", files=files)).entries}
    assert [after[entry.key].etag == entry.etag for entry in before] == [True, False]
    assert after["a.jpg"].url != before[0].url


def test_a_tar_file_that_changes_has_other_marks_for_all_members(make):
    before = list_images(make("plain.tar", "a.jpg")).entries
    after = list_images(make("plain.tar", "a.jpg", "b.jpg")).entries
    assert before[0].etag != after[0].etag


# ------------------------------------------------------------------------------------ written by others


def test_shards_that_webdataset_wrote_are_read(tmp_path):
    with webdataset.ShardWriter(f"{tmp_path}/train-%03d.tar", maxcount=3, verbose=0) as writer:
        for number in range(7):
            writer.write({"__key__": f"{number:04d}", "jpg": b"image %d" % number, "cls": number, "json": {"a": 1}})
    listing = list_images(f"{tmp_path}/train-{{000..002}}.tar")
    assert read(listing) == {f"{number:04d}.jpg": b"image %d" % number for number in range(7)}
    assert [entry.key for entry in listing.beside] == [f"{number:04d}.json" for number in range(7)]


def test_a_zip_file_written_as_a_stream_is_read(tmp_path):
    class Stream(io.RawIOBase):
        def __init__(self, file):
            self.file = file

        def writable(self):
            return True

        def write(self, data):
            return self.file.write(data)

    with (tmp_path / "a.zip").open("wb") as file, zipfile.ZipFile(Stream(file), "w", zipfile.ZIP_DEFLATED) as archive:
        for (name, content), method in zip(contents("a.jpg", "b.jpg"), itertools.cycle((8, 0)), strict=False):
            archive.writestr(name, content, method)
    assert read(list_images(tmp_path / "a.zip")) == dict(contents("a.jpg", "b.jpg"))


def test_a_zip_file_behind_a_program_is_read(make):
    path = make("deflated.zip", "a.jpg", "b.jpg")
    path.write_bytes(b"#!/bin/sh\n" * 100 + path.read_bytes())
    assert read(list_images(path)) == dict(contents("a.jpg", "b.jpg"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_files_of_every_format_are_read(tmp_path, form):
    name = "n" * 80 + "/" + "m" * 80 + ".jpg"
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = 5
        archive.addfile(info, io.BytesIO(b"12345"))
    assert read(list_images(tmp_path / "a.tar")) == {name: b"12345"}


def test_the_page_about_reading_runs_from_top_to_bottom(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "reading.md").read_text("utf-8")
    images = [(path.name, path.read_bytes()) for path in sorted(ks.samples.folder().glob("*.jpg"))][:2]
    monkeypatch.chdir(tmp_path)
    Path("photos.zip").write_bytes(packed("stored.zip", images))
    Path("shards").mkdir()
    for number, image in enumerate(images):
        Path(f"shards/train-{number:06d}.tar").write_bytes(packed(".tar", [image]))
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(block, "reading.md", "exec"), {})
    made = {path.name: path.read_bytes() for path in Path("augmented").glob("*__hflip.*")}
    assert len(made) == 2
    assert made == {path.name: path.read_bytes() for path in Path("flipped").glob("*__hflip.*")}
