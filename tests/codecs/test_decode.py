"""Pixels against Pillow, orientation, refusals, and bytes that are no image."""

import importlib.resources
import io
import pickle
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kaleidoscope.codecs import KNOWN_EXTENSIONS, Encoder, decode
from kaleidoscope.errors import DecodeError
from kaleidoscope.record import Frame

RNG = np.random.default_rng(20)
PHOTOS = {
    path.name: path.read_bytes()
    for path in importlib.resources.files("kaleidoscope.samples").iterdir()
    if path.name.endswith((".jpg", ".png"))
}
COLOUR = Image.open(io.BytesIO(PHOTOS["astronaut.jpg"])).resize((37, 23))
GREY = COLOUR.convert("L")
PALETTE = COLOUR.convert("P", palette=Image.Palette.ADAPTIVE)
RGBA = COLOUR.convert("RGBA")
RGBA.putalpha(Image.fromarray(RNG.integers(0, 256, (23, 37), dtype=np.uint8)))
DEEP = Image.fromarray(RNG.integers(0, 2**16, (23, 37), dtype=np.uint16))


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def tiff(pixels: np.ndarray, *, photometric: int | None = None, planar: int = 1, **tags: object) -> bytes:
    """Write an uncompressed TIFF by the letter of the specification: libraries write only some flavours."""
    height, width, samples = pixels.shape
    body = (pixels if planar == 1 else pixels.transpose(2, 0, 1)).tobytes()
    plane = len(body) // (1 if planar == 1 else samples)
    starts = [8] if planar == 1 else [8 + plane * n for n in range(samples)]
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    fields = {256: [width], 257: [height], 258: [8 * pixels.itemsize] * samples, 259: [1], 277: [samples]}
    fields |= {262: [photometric if photometric is not None else 1 if samples < 3 else 2], 273: starts}
    fields |= {278: [height], 279: [plane] * len(starts), 284: [planar], 339: [kind] * samples}
    numbers = {"orientation": 274, "resolution_unit": 296, "extra": 338}
    fields |= {numbers[name]: value if isinstance(value, list) else [value] for name, value in tags.items()}
    if photometric == 3:
        fields[320] = list(range(3 * 256))
    out = b"II*\0\0\0\0\0" + body + b"\0" * (len(body) % 2)
    entries = b""
    for number, values in sorted(fields.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHI", number, 4, len(values))
        entries += packed if len(packed) == 4 else struct.pack("<I", len(out))
        out += packed if len(packed) > 4 else b""
    return out[:4] + struct.pack("<I", len(out)) + out[8:] + struct.pack("<H", len(fields)) + entries + bytes(4)


def pixels_of(data: bytes, **options: object) -> np.ndarray:
    return decode(data, key="k", **options)[0]


def attempt(data: bytes) -> tuple[np.ndarray, dict[str, object]] | DecodeError:
    try:
        return decode(data, key="k", max_pixels=2**20)
    except DecodeError as error:
        return error


def by_pillow(data: bytes, mode: str) -> np.ndarray:
    array = np.asarray(Image.open(io.BytesIO(data)).convert(mode))
    return array if array.ndim == 3 else array[:, :, None]


AGAINST_PILLOW = {
    "jpg grey": (saved(GREY, "JPEG"), "L", 0),
    "jpg": (saved(COLOUR, "JPEG"), "RGB", 0),
    "jpg progressive": (saved(COLOUR, "JPEG", progressive=True), "RGB", 0),
    "jpg 4:4:4": (saved(COLOUR, "JPEG", subsampling=0), "RGB", 0),
    "jpg cmyk": (saved(COLOUR.convert("CMYK"), "JPEG"), "RGB", 1),
    "png 1 bit": (saved(COLOUR.convert("1"), "PNG"), "L", 0),
    "png grey": (saved(GREY, "PNG"), "L", 0),
    "png grey, transparent colour": (saved(GREY, "PNG", transparency=GREY.getpixel((3, 3))), "RGBA", 0),
    "png grey + alpha": (saved(RGBA.convert("LA"), "PNG"), "RGBA", 0),
    "png": (saved(COLOUR, "PNG"), "RGB", 0),
    "png, transparent colour": (saved(COLOUR, "PNG", transparency=COLOUR.getpixel((3, 3))), "RGBA", 0),
    "png rgba": (saved(RGBA, "PNG"), "RGBA", 0),
    "png palette": (saved(PALETTE, "PNG"), "RGB", 0),
    "png palette, one transparent": (saved(PALETTE, "PNG", transparency=3), "RGBA", 0),
    "png palette, alphas": (saved(PALETTE, "PNG", transparency=bytes(range(256))), "RGBA", 0),
    "png palette 2 bit": (
        saved(COLOUR.convert("P", palette=Image.Palette.ADAPTIVE, colors=4), "PNG", bits=2),
        "RGB",
        0,
    ),
    "png 16 bit grey": (saved(DEEP, "PNG"), "I;16", 0),
    "webp": (saved(COLOUR, "WEBP"), "RGB", 0),
    "webp lossless": (saved(COLOUR, "WEBP", lossless=True), "RGB", 0),
    "webp rgba": (saved(RGBA, "WEBP", exact=True), "RGBA", 0),
    "webp rgba lossless": (saved(RGBA, "WEBP", lossless=True, exact=True), "RGBA", 0),
    "webp animated": (saved(COLOUR, "WEBP", save_all=True, append_images=[COLOUR.rotate(180)]), "RGB", 0),
    "gif": (saved(COLOUR, "GIF"), "RGB", 0),
    "gif grey": (saved(GREY, "GIF"), "RGB", 0),
    "gif interlaced": (saved(COLOUR, "GIF", interlace=1), "RGB", 0),
    "gif, one transparent": (saved(PALETTE, "GIF", transparency=3), "RGBA", 0),
    "gif animated": (saved(COLOUR, "GIF", save_all=True, append_images=[COLOUR.rotate(180)]), "RGB", 0),
    "png animated": (saved(COLOUR, "PNG", save_all=True, append_images=[COLOUR.rotate(180)]), "RGB", 0),
    "tiff 1 bit": (saved(COLOUR.convert("1"), "TIFF"), "L", 0),
    "tiff fax": (saved(COLOUR.convert("1"), "TIFF", compression="group4"), "L", 0),
    "tiff grey": (saved(GREY, "TIFF"), "L", 0),
    "tiff grey from white": (tiff(by_pillow(saved(GREY, "PNG"), "L"), photometric=0), "L", 0),
    "tiff grey + alpha": (saved(RGBA.convert("LA"), "TIFF"), "RGBA", 0),
    "tiff": (saved(COLOUR, "TIFF"), "RGB", 0),
    "tiff big": (saved(COLOUR, "TIFF", big_tiff=True), "RGB", 0),
    "tiff lzw": (saved(COLOUR, "TIFF", compression="tiff_lzw"), "RGB", 0),
    "tiff jpeg": (saved(COLOUR, "TIFF", compression="jpeg"), "RGB", 0),
    "tiff planes": (tiff(np.asarray(COLOUR), planar=2), "RGB", 0),
    "tiff rgba": (saved(RGBA, "TIFF"), "RGBA", 0),
    "tiff rgba, colours times alpha": (tiff(np.asarray(RGBA.convert("RGBa")), extra=1), "RGBA", 0),
    "tiff palette": (saved(PALETTE, "TIFF"), "RGB", 0),
    "tiff cmyk": (saved(COLOUR.convert("CMYK"), "TIFF"), "RGB", 0),
    "tiff pages": (saved(COLOUR, "TIFF", save_all=True, append_images=[COLOUR.rotate(180)]), "RGB", 0),
    "tiff 16 bit grey": (saved(DEEP, "TIFF"), "I;16", 0),
    "bmp 1 bit": (saved(COLOUR.convert("1"), "BMP"), "L", 0),
    "bmp grey": (saved(GREY, "BMP"), "L", 0),
    "bmp palette": (saved(PALETTE, "BMP"), "RGB", 0),
    "bmp": (saved(COLOUR, "BMP"), "RGB", 0),
    "bmp 32 bit": (saved(RGBA, "BMP"), "RGB", 0),
}


@pytest.mark.parametrize("name", AGAINST_PILLOW)
def test_pixels_are_those_that_pillow_reads(name):
    data, mode, tolerance = AGAINST_PILLOW[name]
    pixels, metadata = decode(data, key="k")
    expected = by_pillow(data, mode)
    assert pixels.shape == expected.shape
    assert pixels.dtype == expected.dtype
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance
    pages = {"pages": 2} if name.endswith(("animated", "pages")) else {}
    assert metadata == {"format": name.split()[0].strip(","), **pages}
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("name", PHOTOS)
def test_photographs_are_those_that_pillow_reads(name):
    pixels = pixels_of(PHOTOS[name])
    np.testing.assert_array_equal(pixels, by_pillow(PHOTOS[name], "L" if pixels.shape[2] == 1 else "RGB"))


@pytest.mark.parametrize("transform", [0, 2])
def test_inverted_cmyk_and_ycck_come_out_as_pillow_shows_them(transform):
    data = bytearray(saved(COLOUR.convert("CMYK"), "JPEG", quality=100, subsampling=0))
    data[data.index(b"Adobe") + 11] = transform  # 0: CMYK, 2: YCCK
    expected = by_pillow(bytes(data), "RGB")
    assert np.abs(pixels_of(bytes(data)).astype(int) - expected).max() <= 1
    if transform == 0:
        assert np.abs(expected.astype(int) - np.asarray(COLOUR)).mean() < 3, "and not as a negative"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_tiff_samples_come_out_without_loss(dtype, samples):
    unit = RNG.random((5, 7, samples))
    if dtype.startswith("float"):
        stored = unit.astype(dtype)
    else:
        limits = np.iinfo(dtype)
        stored = np.round(limits.min + unit * (limits.max - limits.min)).astype(dtype)
        stored[0, 0], stored[0, 1] = limits.min, limits.max
    pixels, metadata = decode(tiff(stored, **({"extra": 2} if samples == 4 else {})), key="k")
    assert pixels.dtype == {"int16": "uint16", "float64": "float32"}.get(dtype, dtype)
    assert metadata.get("offset") == (-32768 if dtype == "int16" else None)
    if dtype == "float64":
        stored = stored.astype(np.float32)
    np.testing.assert_array_equal(pixels.astype(np.float64) + metadata.get("offset", 0), stored)


def test_sixteen_bit_tiff_that_counts_from_white_is_turned():
    stored = RNG.integers(0, 2**16, (5, 7, 1), dtype=np.uint16)
    np.testing.assert_array_equal(pixels_of(tiff(stored, photometric=0)), 65535 - stored)


def test_a_fourth_sample_that_is_no_alpha_is_left_out():
    stored = RNG.integers(0, 2**16, (5, 7, 4), dtype=np.uint16)
    pixels = pixels_of(tiff(stored, extra=0))
    np.testing.assert_array_equal(pixels, stored[:, :, :3])
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("stored", "options"),
    [
        (np.zeros((4, 4, 3), np.uint16), {"planar": 2}),
        (np.zeros((4, 4, 4), np.uint16), {"photometric": 5}),
        (np.zeros((4, 4, 4), np.uint16), {"extra": 1}),
        (np.zeros((4, 4, 2), np.uint16), {}),
        (np.zeros((4, 4, 1), np.int16), {"photometric": 0}),
        (np.zeros((4, 4, 1), np.uint32), {}),
        (np.zeros((4, 4, 1), np.int32), {}),
        (np.zeros((4, 4, 1), np.int8), {}),
    ],
)
def test_tiff_flavours_that_would_come_out_wrong_are_refused(stored, options):
    with pytest.raises(DecodeError, match="TIFF"):
        pixels_of(tiff(stored, **options))


def test_sixteen_bit_transparent_grey_png():
    stored = np.array([[1, 500, 65535]], np.uint16)
    data = cv2.imencode(".png", stored)[1].tobytes()
    end = data.index(b"IDAT") - 4
    chunk = b"tRNS" + struct.pack(">H", 500)

    data = data[:end] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[end:]
    np.testing.assert_array_equal(pixels_of(data)[0, :, 0], stored[0])
    np.testing.assert_array_equal(pixels_of(data)[0, :, 3], [65535, 0, 65535])


# Orientation. By the EXIF standard: which row and column of the picture the stored ones are.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


def exif(orientation: int) -> bytes:
    """Return an EXIF block with an orientation, and a place that must not travel on."""
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010E] = "SECRET PLACE"
    block.get_ifd(0x8825)[29] = "2020:02:02"
    return block.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image", [COLOUR, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize(("form", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_orientation_is_applied_once_and_exif_is_dropped(orientation, image, form, options):
    if form == "TIFF":
        options = {"tiffinfo": {274: orientation, 270: "SECRET PLACE"}}
    else:
        options = {**options, "exif": exif(orientation)}
    data = saved(image, form, **options)
    assert b"SECRET PLACE" in data
    assert Image.open(io.BytesIO(data)).getexif()[274] == orientation
    as_it_lies = pixels_of(saved(image, form, **{k: v for k, v in options.items() if k == "lossless"}))
    pixels, metadata = decode(data, key="k")
    np.testing.assert_array_equal(pixels, UPRIGHT[orientation](as_it_lies))
    assert pixels.flags.c_contiguous
    assert metadata.keys() == {"format"}
    for name in ("png", "tiff", "npy"):
        again = Encoder(name).encode(pixels)
        assert b"SECRET" not in again
        assert b"2020:02:02" not in again


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("dtype", "samples"), [("uint8", 4), ("uint16", 1), ("uint16", 3), ("int16", 3), ("float32", 3)]
)
def test_every_kind_of_tiff_is_set_upright(orientation, dtype, samples):
    stored = RNG.integers(0, 2, (5, 7, samples)).astype(dtype)
    pixels, metadata = decode(tiff(stored, orientation=orientation), key="k")
    np.testing.assert_array_equal(
        pixels.astype(int) + metadata.get("offset", 0), UPRIGHT[orientation](stored).astype(int)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_palette_tiff_is_set_upright(orientation):
    data = saved(PALETTE, "TIFF", tiffinfo={274: orientation})
    np.testing.assert_array_equal(pixels_of(data), UPRIGHT[orientation](np.asarray(PALETTE.convert("RGB"))))


def test_the_orientation_of_a_webp_may_carry_the_prefix_it_has_in_a_jpeg():
    data = saved(COLOUR, "WEBP", lossless=True, exif=exif(6))
    start = data.index(b"EXIF")
    (length,) = struct.unpack_from("<I", data, start + 4)
    block = b"Exif\0\0" + data[start + 8 : start + 8 + length].removeprefix(b"Exif\0\0")
    data = data[:start] + b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    np.testing.assert_array_equal(pixels_of(data), UPRIGHT[6](np.asarray(COLOUR)))


def test_a_bmp_may_begin_with_its_top_row():
    stored = np.asarray(COLOUR.resize((8, 6)))  # 24 bytes a row: no padding
    data = bytearray(saved(COLOUR.resize((8, 6)), "BMP"))
    data[22:26] = struct.pack("<i", -6)
    np.testing.assert_array_equal(pixels_of(bytes(data)), stored[::-1])


@pytest.mark.parametrize(
    "block", [exif(0), exif(9), b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0", b"Exif\0\0garbage!"]
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_senseless_exif_block_does_not_spoil_the_image(block, form):
    np.testing.assert_array_equal(pixels_of(saved(COLOUR, form, exif=block)), pixels_of(saved(COLOUR, form)))


# npy


def npy(array: np.ndarray, **options: object) -> bytes:
    target = io.BytesIO()
    np.save(target, array, **options)
    return target.getvalue()


@pytest.mark.parametrize("dtype", ["uint8", "<u2", ">u2", "float32", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 4), (3, 5, 7)])
def test_npy_arrays_come_back_in_native_c_order(dtype, order, shape):
    stored = np.asarray(RNG.integers(0, 2, shape), dtype, order=order)
    pixels, metadata = decode(npy(stored), key="k")
    np.testing.assert_array_equal(pixels, stored.reshape(*shape[:2], -1))
    assert pixels.dtype == np.dtype(dtype).newbyteorder("=")
    assert pixels.dtype.isnative
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert metadata == {"format": "npy"}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy_is_read(version):
    target = io.BytesIO()
    np.lib.format.write_array(target, np.full((2, 3), 7, np.uint8), version=version)
    assert (pixels_of(target.getvalue()) == 7).all()


def test_signed_npy_is_shifted_and_says_so():
    stored = np.array([[-32768, -1, 0, 32767]], np.int16)
    pixels, metadata = decode(npy(stored), key="k")
    assert pixels.ravel().tolist() == [0, 32767, 32768, 65535]
    assert metadata == {"format": "npy", "offset": -32768}


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2), np.int64), "'<i8'"),
        (np.zeros((2, 2), np.float64), "'<f8'"),
        (np.zeros((2, 2), bool), r"'\|b1'"),
        (np.zeros((2, 2), "U3"), "'<U3'"),
        (np.zeros((2, 2), [("a", "u1")]), "plain array"),
        (np.array([[{}]], object), r"'\|O'"),
        (np.zeros(4, np.uint8), r"holds \(4,\)"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"holds \(1, 2, 2, 3\)"),
        (np.zeros((0, 2, 3), np.uint8), "2x0 pixels"),
        (np.zeros((2, 2, 0), np.uint8), "no pixels"),
    ],
)
def test_other_npy_files_are_refused(array, words):
    with pytest.raises(DecodeError, match=words):
        pixels_of(npy(array, allow_pickle=True))


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.5, "0 to 1.5"), (-0.25, "-0.25 to 0"), (255.0, "0 to 255"), (np.nan, "nan"), (np.inf, "0 to inf")],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("error")
def test_float_pixels_outside_zero_and_one_are_refused_with_their_range(value, words, dtype):
    stored = np.zeros((4, 4, 1), dtype)
    stored[2, 2] = value
    for data in (tiff(stored), npy(stored.astype(np.float32))):
        with pytest.raises(DecodeError, match=re.escape(words)) as caught:
            pixels_of(data)
        assert "scale them" in str(caught.value)


# Limits and errors


@pytest.mark.parametrize("name", ["jpg", "png", "gif", "webp", "tiff", "bmp"])
def test_the_pixel_limit_is_named_and_counts_width_times_height(name):
    data = AGAINST_PILLOW[name][0]
    assert pixels_of(data, max_pixels=23 * 37).shape == (23, 37, 3)
    assert pixels_of(data, max_pixels=None).shape == (23, 37, 3)
    with pytest.raises(DecodeError, match=r"37x23 is 851 pixels, over the limit of 850"):
        pixels_of(data, max_pixels=850)


def test_the_pixel_limit_is_checked_before_anything_is_decoded(monkeypatch):
    bomb = bytearray(saved(COLOUR, "PNG"))
    bomb[16:24] = struct.pack(">II", 50_000, 50_000)  # its checksum is wrong now: only looked at later
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DecodeError, match="2,500,000,000 pixels"):
        decode(bytes(bomb), key="k")


@pytest.mark.parametrize("name", ["jpg", "png", "gif", "webp lossless", "tiff lzw"])
def test_a_few_bytes_that_claim_a_large_picture_are_refused_before_memory_is_taken(name, monkeypatch):
    """200 megapixels are allowed, but not in a kilobyte: decoders would hold them three times over."""
    data = bytearray(AGAINST_PILLOW[name][0])
    width, height = 16_000, 12_500
    if name == "webp lossless":
        data[21:25] = ((height - 1) << 14 | (width - 1)).to_bytes(4, "little")
    elif name == "tiff lzw":
        directory = int.from_bytes(data[4:8], "little")
        entries = range(directory + 2, len(data) - 12, 12)
        places = {struct.unpack_from("<H", data, at)[0]: at + 8 for at in entries}
        for tag, value in ((256, width), (257, height)):
            struct.pack_into("<H", data, places[tag], value)
    else:
        place, code, sizes = {
            "jpg": (data.find(b"\xff\xc0") + 5, ">HH", (height, width)),
            "png": (16, ">II", (width, height)),
            "gif": (6, "<HH", (width, height)),
        }[name]
        struct.pack_into(code, data, place, *sizes)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DecodeError, match=r"bytes cannot hold the 16000x12500 pixels that the \w+ header says"):
        decode(bytes(data), key="k")


def test_a_large_picture_that_packs_well_is_read():
    # 64 megapixels of one colour: RGB, over the bytes that are looked at, in as few as deflate can.
    data = saved(Image.new("RGB", (12_000, 6_000), (7, 8, 9)), "PNG")
    assert len(data) < 300_000
    assert pixels_of(data)[-1, -1].tolist() == [7, 8, 9]


def test_an_image_between_our_limit_and_pillows_is_read():
    # 200 megapixels: Pillow's Image.open refuses them, for the whole process.
    data = saved(Image.new("1", (20_000, 10_000), 1), "PNG")
    pixels = pixels_of(data)
    assert pixels.shape == (10_000, 20_000, 1)
    assert pixels[-1, -1, 0] == 255


@pytest.mark.parametrize("name", ["jpg", "jpg progressive", "jpg grey", "png", "webp", "tiff", "tiff palette", "bmp"])
def test_a_file_that_was_cut_short_is_never_half_a_picture(name):
    data = AGAINST_PILLOW[name][0]
    whole = pixels_of(data)
    refused = 0
    for length in [*range(0, len(data) - 1, 41), len(data) - 2, len(data) - 1]:
        outcome = attempt(data[:length])
        if isinstance(outcome, DecodeError):
            refused += 1
        else:
            np.testing.assert_array_equal(outcome[0], whole)
    assert refused >= len(data) // 41


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_jpeg_whose_end_is_zeros_is_refused(part):
    data = PHOTOS["astronaut.jpg"]
    kept = int(len(data) * part)
    with pytest.raises(DecodeError):
        pixels_of(data[:kept] + bytes(len(data) - kept))


@pytest.mark.parametrize("tail", [b"\0" * 64, b"\xff\xd9", b"trailing words"])
@pytest.mark.parametrize("name", ["jpg", "png", "webp", "bmp"])
def test_bytes_after_the_end_do_no_harm(name, tail):
    data = AGAINST_PILLOW[name][0]
    np.testing.assert_array_equal(pixels_of(data + tail), pixels_of(data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"<?xml version='1.0'?><Error>NoSuchKey</Error>", "look like text"),
        (b"\xff\xd8\xff", "3 bytes"),
        (b"\x89PNG\r\n\x1a\n", "8 bytes"),
        (b"GIF89a", "6 bytes that look like a GIF"),
        (b"%PDF-1.7", "expected JPEG, PNG, GIF, WebP, TIFF, BMP or npy; got 8 bytes that look like a PDF"),
        (b"BM", "2 bytes"),
        (b"II*\0", "4 bytes"),
        (b"\x93NUMPY\x01\0", "plain array"),
    ],
)
def test_what_came_instead_of_an_image_is_said(data, words):
    with pytest.raises(DecodeError, match=words) as caught:
        decode(data, key="a/b.jpg")
    assert str(caught.value).startswith("a/b.jpg: decode: ")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.key, again.step, str(again)) == ("a/b.jpg", "decode", str(caught.value))


def test_a_wrong_checksum_in_a_png_is_named():
    data = bytearray(saved(COLOUR, "PNG"))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    with pytest.raises(DecodeError, match="wrong checksum of its chunk b'IDAT'"):
        pixels_of(bytes(data))


def test_the_error_below_is_kept_as_the_cause():
    with pytest.raises(DecodeError) as caught:
        decode(b"II*\0", key="k")
    assert isinstance(caught.value.__cause__, struct.error)


def test_pixels_of_another_size_than_the_header_says_are_refused(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((23, 36, 3), np.uint8))
    with pytest.raises(DecodeError, match="says 37x23 pixels; decoded were 36x23"):
        pixels_of(saved(COLOUR, "PNG"))


@pytest.mark.parametrize("error", [cv2.error("bad"), MemoryError(), ValueError("bad"), struct.error("bad")])
def test_whatever_a_decoder_raises_becomes_a_decode_error(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(DecodeError, match=r"bad|MemoryError") as caught:
        decode(saved(COLOUR, "PNG"), key="k")
    assert (caught.value.key, caught.value.step) == ("k", "decode")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("name", ["png", "webp", "tiff", "tiff 16 bit grey", "bmp", "tiff palette"])
@pytest.mark.filterwarnings("error")
def test_broken_files_raise_and_print_nothing(name, capfd):
    data = AGAINST_PILLOW[name][0]
    with pytest.raises(DecodeError):
        pixels_of(data[: len(data) // 2])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.filterwarnings("error")
def test_oddities_that_libraries_complain_of_print_nothing(capfd):
    pixels_of(saved(COLOUR, "PNG", icc_profile=b"no profile"))
    pixels_of(Encoder("tiff").encode(np.asarray(RGBA)))
    pixels_of(Encoder("tiff").encode(np.zeros((4, 4, 4), np.uint16)))
    pixels_of(tiff(np.zeros((4, 4, 1), np.uint8), photometric=3, resolution_unit=[1, 1]))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_log_level_of_opencv_comes_back():
    log = cv2.utils.logging
    before = log.setLogLevel(log.LOG_LEVEL_ERROR)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(pixels_of, [data for data in PHOTOS.values() for _ in range(4)]))
        assert log.getLogLevel() == log.LOG_LEVEL_ERROR
        with pytest.raises(DecodeError):
            pixels_of(PHOTOS["coffee.jpg"][:5000])
        assert log.getLogLevel() == log.LOG_LEVEL_ERROR
    finally:
        log.setLogLevel(before)


def test_four_threads_read_what_one_does():
    files = [*PHOTOS.values(), *(data for data, _, _ in AGAINST_PILLOW.values())] * 3
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(pixels_of, files))
    for data, pixels in zip(files, together, strict=True):
        np.testing.assert_array_equal(pixels, pixels_of(data))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("name", ["png", "npy"])
def test_pixels_share_nothing_with_the_bytes(kind, name):
    data = Encoder(name).encode(np.asarray(COLOUR))
    given_data = kind(data)
    pixels = pixels_of(given_data)
    pixels[:] = 0
    assert bytes(given_data) == data


def test_known_extensions_are_plain_lower_case():
    assert {"jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "npy"} <= KNOWN_EXTENSIONS
    assert all(re.fullmatch("[a-z]+", extension) for extension in KNOWN_EXTENSIONS)


# Bytes that went wrong on the way

SMALL = {
    "jpg": [
        saved(COLOUR.resize((9, 7)), "JPEG", exif=exif(6)),
        saved(GREY.resize((9, 7)), "JPEG", progressive=True),
    ],
    "png": [
        saved(PALETTE.resize((9, 7)), "PNG", transparency=3),
        saved(COLOUR.resize((9, 7)), "PNG", exif=exif(3)),
    ],
    "webp": [
        saved(RGBA.resize((9, 7)), "WEBP", exif=exif(8)),
        saved(COLOUR.resize((9, 7)), "WEBP", lossless=True),
    ],
    "tiff": [
        saved(PALETTE.resize((9, 7)), "TIFF"),
        saved(COLOUR.resize((9, 7)), "TIFF", compression="tiff_lzw"),
        tiff(np.zeros((7, 9, 3), np.float32), orientation=7),
    ],
    "bmp": [saved(PALETTE.resize((9, 7)), "BMP"), saved(COLOUR.resize((9, 7)), "BMP")],
    "npy": [npy(np.zeros((7, 9, 3), np.uint8)), npy(np.zeros((7, 9), np.float32))],
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("error")
def test_mutated_files_are_frames_or_decode_errors(name):
    outcomes = set()

    @settings(max_examples=500, deadline=None)
    @given(st.data())
    def mutate(draw):
        data = bytearray(draw.draw(st.sampled_from(SMALL[name])))
        # Most of what can go wrong sits in the headers, at the front (at the back of a TIFF).
        places = st.integers(0, len(data) - 1) | st.integers(0, min(80, len(data) - 1))
        for place, value in draw.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
            data[place] = value
        data = data[: draw.draw(st.just(len(data)) | st.integers(0, len(data)))]
        outcome = attempt(bytes(data))
        if isinstance(outcome, DecodeError):
            assert (outcome.key, outcome.step) == ("k", "decode")
            outcomes.add("refused")
            return
        pixels, metadata = outcome
        frame = Frame.of(pixels)
        assert frame.height * frame.width <= 2**20
        assert pixels.flags.c_contiguous
        assert metadata.keys() <= {"format", "offset", "pages"}
        outcomes.add("read")

    mutate()
    assert outcomes == {"read", "refused"}
