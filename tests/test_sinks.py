import posixpath

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kaleidoscope.entries import texts
from kaleidoscope.errors import RecipeError
from kaleidoscope.sinks import MAX_COMPONENT, check_names, output_name

FORMATS = st.sampled_from(["jpg", "png", "npy", "webp", "tiff"])
VARIANTS = st.sampled_from(["original", "hflip", "hflip-rotate2", "1", "1-rotate", "-".join(["hsv"] * 60)])
# Names made of what might break out, run together, or be cut in its middle.
PIECES = st.sampled_from(
    [
        *("a", "A", "b", "_", "__", "-", ".", "..", "\\", "\0", "%", "%2E", " ", "ü", "\ud800", "é" * 120, "x" * 230),
        *(".jpg", ".JPG", ".png", ".jpeg", ".txt", "original", "hflip"),
    ]
)
COMPONENTS = st.lists(PIECES, max_size=4).map("".join)
KEYS = st.lists(COMPONENTS, min_size=1, max_size=3).map("/".join)
LISTED = KEYS.filter(lambda key: "\ud800" not in key)  # what is no text is refused before


def size(text):
    return len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("key", "variant", "extension", "name"),
    [
        ("cat/001.jpg", "hflip-rotate", "jpg", "cat/001__hflip-rotate.jpg"),
        ("cat/001.png", "original", "jpg", "cat/001__original.png.jpg"),
        ("cat/001.jpeg", "original", "jpg", "cat/001__original.jpeg.jpg"),
        ("cat/001.JPG", "original", "jpg", "cat/001__original.JPG.jpg"),
        ("cat/001.png", "original", "png", "cat/001__original.png"),
        ("scan.17", "original", "jpg", "scan.17__original.jpg"),
        ("archive.tar.png", "hflip", "png", "archive.tar__hflip.png"),
        ("scan", "original", "jpg", "scan__original.jpg"),
        (".jpg", "original", "jpg", ".jpg__original.jpg"),
        ("a b/ü#1.jpg", "original", "jpg", "a b/ü#1__original.jpg"),
        ("../../etc/passwd", "original", "npy", "%2E%2E/%2E%2E/etc/passwd__original.npy"),
        ("/etc/passwd", "original", "npy", "etc/passwd__original.npy"),
        ("a//b.jpg", "original", "jpg", "a/b__original.jpg"),
        ("./a.jpg", "original", "jpg", "%2E/a__original.jpg"),
        ("..\\..\\a.jpg", "original", "jpg", "..%5C..%5Ca__original.jpg"),
        ("a\0b.jpg", "original", "jpg", "a%00b__original.jpg"),
    ],
)
def test_names(key, variant, extension, name):
    assert output_name(key, variant, extension) == name


@given(KEYS, VARIANTS, FORMATS)
@settings(deadline=None, max_examples=300)
def test_nothing_escapes_the_target_whatever_the_key(key, variant, extension):
    name = output_name(key, variant, extension)
    parts = name.split("/")
    assert all(part not in {"", ".", ".."} for part in parts)
    assert not posixpath.isabs(name)
    assert posixpath.normpath(name) == name
    assert "\\" not in name
    assert "\0" not in name
    assert name.endswith(f".{extension}")
    assert all(size(part) <= MAX_COMPONENT for part in parts)


@given(st.text(), VARIANTS, FORMATS)
def test_nothing_escapes_the_target_for_any_text(key, variant, extension):
    assert posixpath.normpath("/target/" + output_name(key, variant, extension)).startswith("/target/")


@given(st.lists(LISTED, min_size=2, max_size=6, unique=True), FORMATS, st.booleans())
@settings(deadline=None, max_examples=300)
def test_no_two_outputs_share_a_name(keys, extension, case_folds):
    try:
        check_names(texts(keys), extension, case_folds=case_folds)
    except RecipeError:
        assume(False)  # refused, so nothing is written
    variants = ["original", "hflip", "hflip-rotate", "1", "-".join(["hsv"] * 60)]
    names = [output_name(key, variant, extension) for key in keys for variant in variants]
    names = [name.casefold() for name in names] if case_folds else names
    assert len(set(names)) == len(names)


@given(st.lists(LISTED, min_size=1, max_size=6, unique=True), FORMATS)
@settings(deadline=None)
def test_only_keys_that_would_share_an_output_are_refused(keys, extension):
    names = {output_name(key, "hflip", extension) for key in keys}
    if len(names) == len(keys):
        check_names(texts(keys), extension, case_folds=False)
    else:
        with pytest.raises(RecipeError, match="would have the same outputs"):
            check_names(texts(keys), extension, case_folds=False)


def test_a_name_does_not_depend_on_the_other_inputs():
    # `a.jpg` beside `a.png`: each has its own name, known from its own key, so that new inputs rename nothing.
    names = {output_name(key, "original", "jpg") for key in ["a.jpg", "a.png", "a.JPG", "a.jpeg", "b/a.jpg"]}
    assert len(names) == 5


class TestLongNames:
    @pytest.mark.parametrize("letter", ["a", "é", "漢", "🙂"])
    def test_are_kept_up_to_200_bytes_and_cut_beyond(self, letter):
        ending = "__original.jpg"
        fits = letter * ((MAX_COMPONENT - len(ending)) // size(letter))
        assert output_name(f"{fits}.jpg", "original", "jpg") == fits + ending
        cut = output_name(f"{fits}{letter}.jpg", "original", "jpg")
        assert size(cut) <= MAX_COMPONENT
        assert size(cut) > MAX_COMPONENT - size(letter) - 1
        assert cut.startswith(letter * 20)
        assert cut.endswith(ending)

    def test_end_in_a_hash_of_the_whole(self):
        one, other = (output_name("x" * 300 + last + ".jpg", "original", "jpg") for last in "ab")
        assert one != other
        assert one[:150] == other[:150]

    def test_of_folders_are_cut_too(self):
        one, other = (output_name("x" * 300 + last + "/a.jpg", "original", "jpg") for last in "ab")
        assert size(one.split("/")[0]) <= MAX_COMPONENT
        assert one != other

    def test_of_variants_are_cut_too(self):
        long = "-".join(["rotate"] * 40)
        one, other = (output_name("a.jpg", variant, "jpg") for variant in (f"{long}2", f"{long}3"))
        assert one != other
        assert size(one) <= MAX_COMPONENT
        assert one.endswith(".jpg")

    def test_are_pinned(self):
        # A second run has to find what the first has written.
        assert output_name("é" * 120 + ".jpg", "hflip", "jpg") == "é" * 86 + "-c4f0d1f41eb32f11__hflip.jpg"


class TestKeysThatShareAnOutput:
    @pytest.mark.parametrize(
        ("keys", "extension"),
        [
            (["a", "a.jpg"], "jpg"),
            (["a//b.jpg", "a/b.jpg"], "jpg"),
            (["/a.jpg", "a.jpg"], "jpg"),
            (["a\\b.jpg", "a%5Cb.jpg"], "jpg"),
            (["../a.jpg", "%2E%2E/a.jpg"], "jpg"),
            ([".jpg", ".jpg.jpg"], "jpg"),
        ],
    )
    def test_are_refused_with_both(self, keys, extension):
        with pytest.raises(RecipeError) as refused:
            check_names(texts(["other.jpg", *keys]), extension, case_folds=False)
        assert all(repr(key) in refused.value.message for key in keys)

    @pytest.mark.parametrize("keys", [["A.jpg", "a.jpg"], ["Cat/1.jpg", "cat/1.jpg"], ["ÜBER.jpg", "über.jpg"]])
    def test_but_for_their_case_are_refused_where_the_target_folds_it(self, keys):
        check_names(texts(keys), "npy", case_folds=False)
        with pytest.raises(RecipeError, match=r"would have the same outputs.*upper from lower case"):
            check_names(texts(keys), "npy", case_folds=True)

    def test_are_found_among_many(self):
        keys = [f"{i}.jpg" for i in range(10_000)]
        check_names(texts(keys), "jpg", case_folds=True)
        with pytest.raises(RecipeError, match=r"'77.jpg' and '77'"):
            check_names(texts([*keys, "77"]), "jpg", case_folds=True)
