"""What a file says about itself, against Pillow and by the letter of the formats."""

import io

import numpy as np
import pytest
from PIL import Image

from kaleidoscope.codecs.header import describe, format_of, read_header
from kaleidoscope.errors import DecodeError


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


IMAGE = Image.fromarray(np.arange(5 * 9 * 3, dtype=np.uint8).reshape(5, 9, 3))
FILES = {
    "jpg": saved(IMAGE, "JPEG"),
    "jpg progressive": saved(IMAGE, "JPEG", progressive=True),
    "png": saved(IMAGE, "PNG"),
    "webp": saved(IMAGE, "WEBP"),
    "webp lossless": saved(IMAGE, "WEBP", lossless=True),
    "webp extended": saved(IMAGE, "WEBP", exif=Image.Exif()),
    "webp animated": saved(IMAGE, "WEBP", save_all=True, append_images=[IMAGE.rotate(180)]),
    "gif": saved(IMAGE, "GIF"),
    "gif animated": saved(IMAGE, "GIF", save_all=True, append_images=[IMAGE.rotate(180)]),
    "tiff": saved(IMAGE, "TIFF"),
    "tiff big": saved(IMAGE, "TIFF", big_tiff=True),
    "bmp": saved(IMAGE, "BMP"),
}


@pytest.mark.parametrize("name", FILES)
def test_format_and_size_are_known_without_decoding(name):
    header = read_header(FILES[name])
    assert (header.format, header.width, header.height) == (name.split()[0], 9, 5)
    assert not header.grey
    assert not header.alpha


@pytest.mark.parametrize("fill", [b"\xff", b"\xff\xff\xff", b"\x00stray"])
def test_fill_and_stray_bytes_between_jpeg_markers_are_skipped(fill):
    data = FILES["jpg"]
    assert read_header(data[:2] + fill + data[2:]).width == 9


@pytest.mark.parametrize("name", FILES)
def test_every_cut_header_is_a_decode_error_or_whole(name):
    data = FILES[name]
    for length in range(len(data)):
        try:
            header = read_header(data[:length])
        except DecodeError:
            continue
        assert (header.width, header.height) == (9, 5)


def test_a_size_of_nothing_is_refused():
    data = bytearray(FILES["png"])
    data[16:20] = bytes(4)
    with pytest.raises(DecodeError, match="0x5"):
        read_header(bytes(data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "look like text"),
        ("Größe\nund\tmehr".encode(), "look like text"),
        (b"GIF88a\x01\x00", "look like a GIF"),
        (b"%PDF-1.7\n%\xe2", "look like a PDF"),
        (b"PK\x03\x04\x14\x00", "look like a zip archive"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\1\2\3\xff\xfe", "begin with 00 01 02 03 ff fe"),
    ],
)
def test_what_came_instead_is_named(data, words):
    assert words in describe(data)
    assert format_of(data) is None
