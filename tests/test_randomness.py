import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kaleidoscope.randomness import stream

WORD = st.text(max_size=6)
PINNED_RAW = [11692300819611671844, 9823436805763238285, 118641440402861292]
PINNED_ANGLE = 4.015226924965525


def first(seed, key, node):
    return int(stream(seed, key, node).bit_generator.random_raw())


def test_streams_are_pinned():
    # A promise: the same recipe and seed give the same bytes next year. If these values change, every data set
    # that was made before can no longer be extended or replayed.
    pinned = stream(7, "cat/001.jpg", "hflip-rotate")
    assert pinned.bit_generator.random_raw(3).tolist() == PINNED_RAW
    assert stream(7, "cat/001.jpg", "hflip-rotate").uniform(-15, 15) == PINNED_ANGLE


def test_equal_words_are_one_stream():
    one, other = stream(7, "a", "b"), stream(7, "a", "b")
    assert one.random(100).tolist() == other.random(100).tolist()


@given(st.integers(), WORD, WORD, st.integers(), WORD, WORD)
def test_every_word_counts(seed, key, node, seed2, key2, node2):
    assume((seed, key, node) != (seed2, key2, node2))
    assert first(seed, key, node) != first(seed2, key2, node2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, "ab", "c"), (1, "a", "bc")),
        ((1, "abc", ""), (1, "", "abc")),
        ((1, "2x", "c"), (12, "x", "c")),
        ((1, "a\0", "b"), (1, "a", "\0b")),
        ((1, "a", "b"), (1, "b", "a")),
    ],
)
def test_words_do_not_run_together(one, other):
    assert first(*one) != first(*other)


@given(st.integers(0, 10), st.text(max_size=12), st.data())
def test_words_that_join_to_the_same_text_are_other_streams(seed, text, data):
    cut, cut2 = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))
    assume(cut != cut2)
    assert first(seed, text[:cut], text[cut:]) != first(seed, text[:cut2], text[cut2:])


def test_a_key_that_is_no_text_has_a_stream():
    name = b"\xff.jpg".decode("utf-8", "surrogateescape")  # as Python spells such a file's name
    assert first(7, name, "hflip") != first(7, "\ufffd.jpg", "hflip")


def test_the_seed_may_be_numpys():
    assert first(np.int64(7), "a", "b") == first(7, "a", "b")


def test_nothing_else_enters():
    before = first(7, "a", "b")
    np.random.default_rng(1).random()
    stream(7, "a", "c").random(1000)
    assert first(7, "a", "b") == before


def test_first_draws_over_many_keys_are_uniform_and_unrelated():
    # Neighbouring keys, as cameras number them. The bounds are five standard deviations, and the draws are fixed.
    count = 20_000
    first_two = np.array([stream(0, f"IMG_{i:05d}.jpg", "rotate").random(2) for i in range(count)])
    draws = first_two[:, 0]
    assert abs(draws.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / count)
    bins = np.histogram(draws, 100, (0, 1))[0]
    chi_square = np.sum((bins - count / 100) ** 2 / (count / 100))
    assert abs(chi_square - 99) < 5 * np.sqrt(2 * 99)
    for one, other in [(draws[1:], draws[:-1]), (draws, first_two[:, 1])]:
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(count)
    assert len(np.unique(draws)) == count


def test_nodes_and_seeds_of_one_image_are_unrelated():
    keys = [f"{i}.jpg" for i in range(5000)]
    columns = [[first(seed, key, node) for key in keys] for seed in (0, 1) for node in ("rotate", "hflip-rotate")]
    correlation = np.corrcoef(np.array(columns, dtype=float))
    assert np.abs(correlation - np.eye(4)).max() < 5 / np.sqrt(len(keys))
