"""The pages of a file are counted against Pillow, which decodes them, and whatever the bytes say."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from kaleidoscope.codecs import decode
from kaleidoscope.codecs.pages import count_pages

COLOURS = [(250, 10, 20), (30, 240, 10), (20, 40, 230), (9, 9, 9)]
PICTURES = [Image.new("RGB", (37, 23), colour) for colour in COLOURS]


def saved(form, count, **options):
    target = io.BytesIO()
    more = {"save_all": True, "append_images": PICTURES[1:count]} if count > 1 else {}
    PICTURES[0].save(target, form, **more, **options)
    return target.getvalue()


FORMATS = {
    "GIF": {},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "TIFF big": {"big_tiff": True},
    "TIFF lzw": {"compression": "tiff_lzw"},
}


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("name", FORMATS)
def test_as_many_as_pillow_finds_and_the_first_is_read(name, count):
    data = saved(name.split()[0], count, **FORMATS[name])
    assert Image.open(io.BytesIO(data)).n_frames == count
    assert count_pages(data, name.split()[0].lower()) == count
    pixels, metadata = decode(data, key="k")
    assert np.abs(pixels.astype(int) - COLOURS[0]).max() <= 4, "a palette may be a little off"
    assert metadata.get("pages") == (count if count > 1 else None)


def test_a_png_for_those_that_know_no_animation_counts():
    data = saved("PNG", 4, default_image=True)
    assert Image.open(io.BytesIO(data)).n_frames == count_pages(data, "png") == 4


def test_of_a_big_endian_tiff():
    entry = struct.pack(">HHII", 256, 4, 1, 1)
    first = struct.pack(">H", 1) + entry + struct.pack(">I", 26)
    second = struct.pack(">H", 1) + entry + bytes(4)
    assert count_pages(b"MM\0*" + struct.pack(">I", 8) + first + second, "tiff") == 2


@pytest.mark.parametrize(("kind", "pages"), [(0, 2), (1, 1), (2, 2), (4, 1), (5, 1)])
def test_reduced_copies_and_masks_of_a_tiff_are_no_pages(kind, pages):
    target = io.BytesIO()
    with_kind = PICTURES[1].copy()
    with_kind.encoderinfo = {"tiffinfo": {254: kind}}
    PICTURES[0].save(target, "TIFF", save_all=True, append_images=[with_kind])
    assert count_pages(target.getvalue(), "tiff") == pages


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_what_breaks_off_is_counted_as_far_as_it_goes(name):
    data = saved(name, 4)
    counts = [count_pages(data[:length], name.lower()) for length in range(len(data) + 1)]
    assert (min(counts), max(counts)) == (1, 4)


def test_directories_in_a_ring_end():
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8)
    assert count_pages(tiff + bytes(20), "tiff") == 1


@pytest.mark.parametrize("format", ["jpg", "bmp", "npy"])
def test_others_hold_one(format):
    assert count_pages(b"", format) == 1
