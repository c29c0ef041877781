import os
import pickle
import uuid
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope.entries import Entries, Entry
from kaleidoscope.errors import KaleidoscopeError, RecipeError, StoreError
from kaleidoscope.listing import KeyRun, Listing, unpack
from kaleidoscope.record import Source
from kaleidoscope.sources import extension, list_images
from kaleidoscope.storage import read_url

SECRET = "hunter2"  # noqa: S105 - what must not be seen
ODD_NAMES = ["a b.jpg", "ü.JPG", "x#1.png", "50%.jpg", "100%25.png", "s/q?.jpg", "s/[1].jpg", "s/*.jpg", "~.jpg"]
TEXT = st.text(max_size=6)
ENTRIES = st.lists(
    st.builds(Entry, TEXT, TEXT, st.none() | st.integers(0, 2**60), TEXT), max_size=8, unique_by=lambda e: e.key
)


@pytest.fixture(params=["disk", "memory"])
def make(request, tmp_path):
    """Return a function that makes a folder of files, each holding its own name, and gives the folder's URL."""
    base = f"memory://{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path)
    fs, path = fsspec.core.url_to_fs(base)

    def make(*names, under=""):
        for name in names:
            full = "/".join(filter(None, [path, under, name]))
            fs.makedirs(full.rsplit("/", 1)[0], exist_ok=True)
            fs.pipe_file(full, name.encode())
        return f"{base}/{under}" if under else base

    yield make
    if request.param == "memory" and fs.exists(path):
        fs.rm(path, recursive=True)


def keys(listing):
    return [entry.key for entry in listing.entries]


class TestAFolder:
    def test_gives_its_images_by_their_names_in_it_sorted(self, make):
        folder = make("b.jpg", "a.png", "c/a.jpg", "a.txt", "a/z.JPEG", "noextension", "a.jpg.bak")
        assert keys(list_images(folder)) == ["a.png", "a/z.JPEG", "b.jpg", "c/a.jpg"]

    def test_is_passed_with_or_without_its_slash(self, make):
        folder = make("a.jpg", "b/c.png", under="photos")
        assert keys(list_images(folder)) == keys(list_images(folder + "/")) == ["a.jpg", "b/c.png"]

    def test_does_not_show_hidden_files_nor_what_we_keep_about_outputs(self, make):
        folder = make(
            *("a.jpg", ".hidden.jpg", ".thumbnails/a.jpg", "b/.c/d.jpg"),
            *("_kaleidoscope/a.jpg", "b/_kaleidoscope/a.jpg", "_kaleidoscopes.jpg"),
        )
        assert keys(list_images(folder)) == ["_kaleidoscopes.jpg", "a.jpg"]

    def test_that_is_hidden_itself_shows_its_files(self, make):
        assert keys(list_images(make("a.jpg", under=".cache/photos"))) == ["a.jpg"]

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_may_hold_any_name(self, make, name):
        folder = make(name)
        (entry,) = list_images(folder).entries
        assert entry.key == name
        assert entry.size == len(name.encode())
        assert read_url(entry.url) == name.encode()

    def test_lists_the_same_every_time(self, make):
        folder = make(*(f"{i * 7919 % 100}/{i}.jpg" for i in range(200)))
        first = list_images(folder)
        assert first == list_images(folder)
        assert keys(first) == sorted(keys(first))
        assert len(first.entries) == 200

    def test_is_sorted_whatever_the_store_says_first(self, tmp_path, monkeypatch):
        for name in "bac":
            (tmp_path / f"{name}.jpg").write_bytes(b"1")
        ls = LocalFileSystem.ls
        monkeypatch.setattr(LocalFileSystem, "ls", lambda *args, **more: ls(*args, **more)[::-1])
        assert keys(list_images(tmp_path)) == ["a.jpg", "b.jpg", "c.jpg"]

    def test_without_images_is_refused_with_what_was_looked_for(self, make):
        with pytest.raises(StoreError, match=r"no images in .*looked for files that end in .*\.jpg"):
            list_images(make("a.txt", "_kaleidoscope/a.jpg"))

    def test_that_is_empty_is_refused(self, tmp_path):
        with pytest.raises(StoreError, match="no images in"):
            list_images(tmp_path)

    def test_that_is_not_there_is_refused(self, make):
        with pytest.raises(StoreError, match=r"cannot list .*/nothing: there is nothing there"):
            list_images(make("a.jpg") + "/nothing")

    def test_of_the_working_directory_has_whole_paths(self, make, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "a.jpg").write_bytes(b"1")
        for given_ in ["photos", "./photos", Path("photos"), "photos/"]:
            listing = list_images(given_)
            assert keys(listing) == ["a.jpg"]
            assert Path(listing.entries[0].url).is_absolute()
            assert listing.root == str(tmp_path / "photos")

    def test_names_of_files_that_are_no_text_are_refused_by_name(self, tmp_path):
        # Parquet, JSON and every object store want UTF-8: such a key would end a run in its middle.
        try:
            (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"1")
        except OSError:
            pytest.skip("this file system holds UTF-8 only")
        with pytest.raises(KaleidoscopeError, match=r"caf\\udce9\.jpg"):
            list_images(tmp_path)


class TestAGlob:
    def test_is_relative_to_its_part_before_the_first_wildcard(self, make):
        folder = make("cats/1.jpg", "cats/2.jpg", "cats/3.png", "dogs/1.jpg")
        assert keys(list_images(f"{folder}/cats/*.jpg")) == ["1.jpg", "2.jpg"]
        assert keys(list_images(f"{folder}/*/1.jpg")) == ["cats/1.jpg", "dogs/1.jpg"]
        assert keys(list_images(f"{folder}/c*/[12].jpg")) == ["cats/1.jpg", "cats/2.jpg"]
        assert keys(list_images(f"{folder}/cats/?.png")) == ["3.png"]
        assert keys(list_images(f"{folder}/**/1.jpg")) == ["cats/1.jpg", "dogs/1.jpg"]

    def test_gives_no_folders(self, make):
        folder = make("a.jpg", "b.jpg/c.jpg")
        assert keys(list_images(f"{folder}/*.jpg")) == ["a.jpg"]

    def test_that_matches_nothing_is_refused(self, make):
        with pytest.raises(StoreError, match="no images in"):
            list_images(make("a.jpg") + "/*.png")

    def test_does_not_reach_into_what_we_keep_about_outputs(self, make):
        folder = make("a.jpg", "_kaleidoscope/b.jpg", "c/_kaleidoscope/d.jpg")
        assert keys(list_images(f"{folder}/**/*.jpg")) == ["a.jpg"]

    def test_is_not_what_a_file_of_that_name_is(self, make):
        folder = make("[1].jpg", "1.jpg")
        assert keys(list_images(f"{folder}/[1].jpg")) == ["[1].jpg"]


class TestOneFile:
    @pytest.mark.parametrize("name", ["a.jpg", *ODD_NAMES])
    def test_is_relative_to_its_folder(self, make, name):
        (entry,) = list_images(f"{make(name)}/{name}").entries
        assert entry.key == name.rsplit("/", 1)[-1]
        assert read_url(entry.url) == name.encode()

    def test_with_colons_is_no_chain_of_filesystems(self, tmp_path):
        (tmp_path / "a::b.jpg").write_bytes(b"1")
        assert keys(list_images(tmp_path / "a::b.jpg")) == ["a::b.jpg"]
        assert keys(list_images([tmp_path / "a::b.jpg"], root=tmp_path)) == ["a::b.jpg"]

    def test_of_any_extension_is_taken_for_an_image(self, make):
        assert keys(list_images(make("scan") + "/scan")) == ["scan"]

    def test_by_its_file_url(self, tmp_path):
        (tmp_path / "50%25 #.jpg").write_bytes(b"1")
        (entry,) = list_images(f"file://{tmp_path}/50%25 #.jpg").entries
        assert (entry.key, entry.url) == ("50%25 #.jpg", str(tmp_path / "50%25 #.jpg"))


class TestAList:
    def test_keeps_its_order_and_has_urls_without_scheme_as_keys(self, make):
        folder = make("b.jpg", "a.jpg")
        listing = list_images([f"{folder}/b.jpg", f"{folder}/a.jpg"])
        bare = folder.split("://")[-1].lstrip("/")
        assert keys(listing) == [f"{bare}/b.jpg", f"{bare}/a.jpg"]
        assert [read_url(entry.url) for entry in listing.entries] == [b"b.jpg", b"a.jpg"]

    def test_is_relative_to_a_root(self, make):
        folder = make(*ODD_NAMES)
        listing = list_images([f"{folder}/{name}" for name in ODD_NAMES], root=folder)
        assert keys(listing) == ODD_NAMES
        assert [read_url(entry.url) for entry in listing.entries] == [name.encode() for name in ODD_NAMES]

    def test_may_be_any_iterable_of_paths(self, tmp_path):
        (tmp_path / "a.jpg").write_bytes(b"1")
        assert keys(list_images((path for path in [tmp_path / "a.jpg"]), root=tmp_path)) == ["a.jpg"]

    def test_of_relative_paths_has_them_as_keys(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.jpg").write_bytes(b"1")
        (entry,) = list_images(["./a.jpg"]).entries
        assert (entry.key, entry.url) == ("a.jpg", str(tmp_path / "a.jpg"))

    def test_is_not_looked_at_where_that_would_cost_a_request(self):
        (entry,) = list_images(["memory://no/such.jpg"]).entries
        assert (entry.size, entry.etag) == (None, "")

    def test_of_a_file_that_is_not_there_says_so_when_it_is_read(self, tmp_path):
        (entry,) = list_images([tmp_path / "no.jpg"]).entries
        with pytest.raises(StoreError, match="there is nothing there"):
            read_url(entry.url)

    def test_with_a_key_twice_is_refused_with_both_urls(self, tmp_path):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "a.jpg").write_bytes(b"1")
        with pytest.raises(RecipeError, match=rf"'.*a\.jpg': {tmp_path}/x/a.jpg and {tmp_path}/x/a.jpg"):
            list_images([tmp_path / "x" / "a.jpg", f"{tmp_path}/x/./a.jpg"])

    def test_outside_of_its_root_is_refused(self, make):
        folder = make("ab/1.jpg", "a/2.jpg")
        with pytest.raises(RecipeError, match=r"ab/1\.jpg does not lie in the root .*/a/"):
            list_images([f"{folder}/a/2.jpg", f"{folder}/ab/1.jpg"], root=f"{folder}/a")

    def test_of_something_else_is_refused(self):
        with pytest.raises(RecipeError, match=r"got 7 \(int\)"):
            list_images(["a.jpg", 7])

    @pytest.mark.parametrize("nothing", [None, 7])
    def test_that_is_none_is_refused(self, nothing):
        with pytest.raises(RecipeError, match="expected URLs or paths"):
            list_images(nothing)


class TestARoot:
    def test_above_a_folder_lengthens_its_keys(self, make):
        folder = make("cats/1.jpg")
        assert keys(list_images(f"{folder}/cats", root=folder)) == ["cats/1.jpg"]
        assert keys(list_images(f"{folder}/cats/*.jpg", root=folder)) == ["cats/1.jpg"]
        assert keys(list_images(f"{folder}/cats/1.jpg", root=folder)) == ["cats/1.jpg"]

    def test_beside_a_folder_is_refused(self, make):
        folder = make("cats/1.jpg", "dogs/1.jpg")
        with pytest.raises(RecipeError, match="does not lie in the root"):
            list_images(f"{folder}/cats", root=f"{folder}/dogs")

    def test_does_not_depend_on_where_the_dataset_lies(self, make):
        one, other = make("a/1.jpg", under="here"), make("a/1.jpg", under="moved/there")
        assert keys(list_images(one)) == keys(list_images(other))

    def test_may_be_spelled_another_way(self, tmp_path):
        (tmp_path / "cats").mkdir()
        (tmp_path / "cats" / "1.jpg").write_bytes(b"1")
        assert keys(list_images(tmp_path / "cats", root=f"{tmp_path}/cats/..")) == ["cats/1.jpg"]


class TestEntries:
    def test_tell_a_changed_file(self, tmp_path):
        path = tmp_path / "a.jpg"
        path.write_bytes(b"1")
        before = list_images(tmp_path).entries
        assert before == list_images(tmp_path).entries == list_images([path], root=tmp_path).entries
        path.chmod(0o600)  # not another version of the image
        assert before == list_images(tmp_path).entries
        path.write_bytes(b"2")
        os.utime(path, ns=(0, 0))
        (after,) = list_images(tmp_path).entries
        assert after.etag != before[0].etag

    def test_become_records_without_pixels(self):
        listing = Listing(Entries.of([Entry("a", "/x/a", 3, "e"), Entry("b", "/x/b")]), "/x", {"secret": SECRET})
        one, other = listing.records()
        assert (one.key, one.pixels, one.variant) == ("a", None, "original")
        assert one.source == Source("/x/a", 3, "e", {"secret": SECRET})
        assert other.source == Source("/x/b", None, "", {"secret": SECRET})

    def test_never_show_credentials(self):
        listing = Listing(Entries.of([Entry("a", "s3://b/a")]), "s3://b", {"secret": SECRET})
        assert SECRET not in repr(listing)
        assert SECRET not in repr(list(listing.runs(1)))
        assert SECRET not in repr(listing.runs(1)[0].packed())
        assert SECRET not in repr(listing.records())


class TestPacks:
    @given(ENTRIES)
    def test_give_back_what_was_packed(self, entries):
        listing = Listing(Entries.of(entries), storage_options={"secret": SECRET})
        packed = pickle.loads(pickle.dumps(KeyRun(listing, 0, len(entries))))
        assert list(packed.listing().entries) == entries
        assert [(r.key, r.source) for r in unpack(packed)] == [
            (e.key, Source(e.url, e.size, e.etag, {"secret": SECRET})) for e in entries
        ]

    @given(ENTRIES, st.integers(1, 4))
    def test_hold_at_most_so_many_in_order(self, entries, size):
        runs = Listing(Entries.of(entries)).runs(size)
        lengths = [len(unpack(run)) for run in runs]
        assert all(length == size for length in lengths[:-1])
        assert all(0 < length <= size for length in lengths[-1:])
        assert [record.key for run in runs for record in unpack(run)] == [entry.key for entry in entries]

    def test_are_small(self):
        entries = [Entry(f"train/{i:07d}.jpg", f"s3://bucket/train/{i:07d}.jpg", 90_000, "e") for i in range(10_000)]
        assert len(pickle.dumps(Listing(Entries.of(entries)).runs(10_000)[0])) < 20 * 10_000


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("a.JPG", "jpg"), ("a.b/c", ""), (".hidden", ""), ("a.tar.gz", "gz"), ("a.", ""), ("a/.b.png", "png")],
)
def test_extension(name, wanted):
    assert extension(name) == wanted


SIGNED = "http://me:secret@127.0.0.1:9/a.jpg?signature=token"


class TestErrors:
    """They name URLs without what opens them."""

    @pytest.mark.parametrize(
        ("urls", "options", "said"),
        [
            ([SIGNED, SIGNED], {}, "two images have the key"),
            ([SIGNED], {"root": "http://127.0.0.1:9/elsewhere?signature=token"}, "does not lie in the root"),
            (SIGNED, {}, "cannot list"),
        ],
    )
    def test_show_no_credentials(self, urls, options, said):
        with pytest.raises(KaleidoscopeError, match=said) as caught:
            list_images(urls, **options)
        assert "127.0.0.1:9/" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "token" not in str(caught.value)

    @pytest.mark.parametrize("there", [True, False])
    def test_of_a_listing_show_no_credentials(self, there, monkeypatch):
        fs = fsspec.filesystem("memory")
        monkeypatch.setattr("kaleidoscope.sources.filesystem", lambda *_: (fs, "/nothing"))
        monkeypatch.setattr("kaleidoscope.sources.options_of", lambda *_: {})
        monkeypatch.setattr(fs, "isdir", lambda _: there)
        with pytest.raises(StoreError, match=r"there is nothing there|there are no images") as caught:
            list_images("ftp://me:secret@host/nothing")
        assert "ftp://host/nothing" in str(caught.value)


@pytest.mark.parametrize("names", ["{000,003}.jpg", "{000,003}*.jpg"])
def test_braces_that_find_nothing_say_what_they_are_for(make, names):
    folder = make("000.jpg", "003.jpg")
    with pytest.raises(StoreError, match=r"; braces are expanded for archives only: give a list, or a glob$"):
        list_images(f"{folder}/{names}")


def test_an_image_called_with_braces_is_listed(make):
    folder = make("{000,003}.jpg")
    assert list_images(f"{folder}/{{000,003}}.jpg").entries.keys.tolist() == ["{000,003}.jpg"]


def test_a_bag_shows_no_credentials_of_its_root():
    from kaleidoscope.bag import ImageBag

    bag = ImageBag(
        {("images", 0): []}, "images", 1, Listing(Entries.of([Entry("a.jpg", SIGNED)]), "http://me:secret@host/")
    )
    assert repr(bag) == "ImageBag<1 images in http://host/, npartitions=1>"
