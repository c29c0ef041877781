"""PNGs as they are written: read by others, put together from bands and chunks."""

import struct
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from kaleidoscope import samples
from kaleidoscope.codecs import Encoder, decode
from kaleidoscope.codecs import png as module
from kaleidoscope.codecs.png import encode_png
from kaleidoscope.errors import DecodeError, OpError

#: The module: the package has a function of its name.
decode_module = sys.modules["kaleidoscope.codecs.decode"]

KINDS = [("uint8", 1), ("uint8", 3), ("uint8", 4), ("uint16", 1), ("uint16", 3), ("uint16", 4)]
#: Height and width: a single pixel, row and column; less than a band; several bands, the last one smaller.
SHAPES = [(1, 1), (1, 9), (9, 1), (33, 70), (701, 517)]


def some_pixels(shape, dtype, channels):
    """Return pixels that are smooth here and noisy there."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, np.iinfo(dtype).max + 1, (*shape, channels)).astype(dtype)
    noise[: shape[0] // 2] = 7
    return noise


def chunks_of(data):
    """Return name and content of each chunk, its checksum compared."""
    chunks, position = [], 8
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        assert zlib.crc32(name + content) == int.from_bytes(data[position + 8 + length : position + 12 + length], "big")
        chunks.append((name, content))
        position += 12 + length
    return chunks


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_opencv_reads_the_same_pixels(dtype, channels, shape):
    pixels = some_pixels(shape, dtype, channels)
    data = encode_png(pixels)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).reshape(pixels.shape)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    assert read.dtype == pixels.dtype
    assert np.array_equal(read[..., order], pixels)
    assert np.array_equal(decode(data, key="a.png")[0], pixels)


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 1), ("uint8", 3), ("uint8", 4), ("uint16", 1)])
def test_pillow_reads_the_same_pixels(dtype, channels):
    pixels = some_pixels((301, 517), dtype, channels)
    with Image.open(BytesIO(encode_png(pixels))) as image:
        image.load()
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_it_says_nothing_but_the_pixels(dtype, channels):
    (header, told), *data, (end, nothing) = chunks_of(encode_png(some_pixels((20, 30), dtype, channels)))
    bits, colour = (8 if dtype == "uint8" else 16), {1: 0, 3: 2, 4: 6}[channels]
    assert (header, struct.unpack(">IIBBBBB", told)) == (b"IHDR", (30, 20, bits, colour, 0, 0, 0))
    assert [name for name, _ in data] == [b"IDAT"]
    assert (end, nothing) == (b"IEND", b"")


def test_more_bytes_than_a_chunk_may_have_are_several_chunks(monkeypatch):
    pixels = some_pixels((40, 50), "uint8", 3)
    monkeypatch.setattr(module, "_LONGEST_CHUNK", 1000)
    data = encode_png(pixels)
    sizes = [len(content) for name, content in chunks_of(data) if name == b"IDAT"]
    assert len(sizes) > 2
    assert set(sizes[:-1]) == {1000}
    assert 0 < sizes[-1] <= 1000
    assert np.array_equal(decode(data, key="a.png")[0], pixels)


def test_big_endian_machines_write_the_same(monkeypatch):
    pixels = some_pixels((40, 50), "uint16", 1)
    swapped = pixels.byteswap()
    monkeypatch.setattr(module.sys, "byteorder", "big")
    read = decode(encode_png(swapped), key="a.png")[0]
    assert np.array_equal(read, pixels), "what lies there with the larger byte first is not swapped"


def test_threads_and_what_memory_held_before_change_no_byte():
    pixels = some_pixels((701, 517), "uint8", 3)
    whole = encode_png(pixels)

    def again(number):
        rng = np.random.default_rng(number)
        encode_png(rng.integers(0, 256, (int(rng.integers(1, 400)), 300, 3), dtype=np.uint8))
        return encode_png(pixels)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(again, range(40))) == {whole}


@pytest.mark.parametrize("path", sorted(samples.folder().glob("*.jpg")), ids=lambda path: path.stem)
def test_photographs_and_radiographs_are_no_larger_than_by_libpng(path):
    photograph = cv2.imread(str(path))[..., ::-1]
    smooth = cv2.GaussianBlur(photograph[..., 1].astype(np.float32), (0, 0), 2)
    radiograph = (smooth * 250 + np.random.default_rng(0).normal(0, 60, smooth.shape)).clip(0).astype(np.uint16)
    for pixels in (photograph, radiograph[..., np.newaxis]):
        assert len(encode_png(pixels)) <= 1.02 * len(cv2.imencode(".png", pixels)[1])


def written_with(pixels, filters):
    """Return a PNG of which each row is filtered as is said, 0 to 4, by the specification's formulas."""
    height, width, channels = pixels.shape
    step = channels * pixels.itemsize
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    stride, lines, above = width * step, [], bytes(width * step)
    for y, kind in zip(range(height), filters, strict=True):
        row = rows[y * stride : (y + 1) * stride]
        line = bytearray([kind])
        for x in range(stride):
            left, up = (row[x - step] if x >= step else 0), above[x]
            corner = above[x - step] if x >= step else 0
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda value: abs(guess - value))
            line.append((row[x] - (0, left, up, (left + up) // 2, nearest)[kind]) % 256)
        lines.append(bytes(line))
        above = row
    return put_together(pixels, zlib.compress(b"".join(lines)))


def put_together(pixels, *packed):
    """Return a PNG of those bytes of data."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", header), *((b"IDAT", part) for part in packed), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts]
    return b"".join([b"\x89PNG\r\n\x1a\n", *chunks])


def libpng_calls(monkeypatch):
    """Return a list that grows with each call of OpenCV's reader."""
    calls, ours = [], decode_module.opencv
    monkeypatch.setattr(decode_module, "opencv", lambda *given: calls.append(1) or ours(*given))
    return calls


@pytest.mark.parametrize(("dtype", "channels"), KINDS)
@pytest.mark.parametrize(
    ("filters", "calls"), [("0", 0), ("1", 0), ("2", 0), ("012", 0), ("1122002", 0), ("3", 1), ("4", 1), ("01234", 1)]
)
def test_every_filter_is_read(monkeypatch, dtype, channels, filters, calls):
    pixels = some_pixels((9, 1100), dtype, channels)
    data = written_with(pixels, [int(filters[y % len(filters)]) for y in range(9)])
    counted = libpng_calls(monkeypatch)
    assert np.array_equal(decode(data, key="a.png")[0], pixels)
    assert len(counted) == calls


def test_a_filter_that_is_found_late_is_left_to_libpng(monkeypatch):
    pixels = some_pixels((300, 1100), "uint8", 1)
    data = written_with(pixels, [1] * 299 + [4])
    assert module._BAND < 300 * 1101, "the last row is not among those that are looked at first"
    counted = libpng_calls(monkeypatch)
    assert np.array_equal(decode(data, key="a.png")[0], pixels)
    assert counted == [1]


def test_several_chunks_of_data_are_read(monkeypatch):
    pixels = some_pixels((200, 300), "uint16", 3)
    lines = b"".join(b"\0" + row.tobytes() for row in pixels.byteswap())
    packed = zlib.compress(lines)
    counted = libpng_calls(monkeypatch)
    data = put_together(pixels, packed[:10], b"", packed[10:1000], packed[1000:])
    assert np.array_equal(decode(data, key="a.png")[0], pixels)
    assert not counted


@pytest.mark.parametrize("kept", [0, 1, 5, 100, -5, -4, -1])
def test_data_that_break_off_are_refused(kept):
    pixels = some_pixels((200, 1100), "uint8", 3)
    (packed,) = (content for name, content in chunks_of(encode_png(pixels)) if name == b"IDAT")
    with pytest.raises(DecodeError):
        decode(put_together(pixels, packed[:kept]), key="a.png")


@pytest.mark.parametrize("rows", [199, 201])
def test_too_few_and_too_many_rows_are_what_libpng_says(rows):
    pixels = some_pixels((200, 1100), "uint8", 1)
    noise = np.random.default_rng(0)
    data = put_together(pixels, zlib.compress(b"".join(b"\0" + noise.bytes(1100) for _ in range(rows))))
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if expected is None:
        with pytest.raises(DecodeError):
            decode(data, key="a.png")
    else:
        assert np.array_equal(decode(data, key="a.png")[0][..., 0], expected)


@pytest.mark.parametrize(("shape", "calls"), [((200, 1100), 0), ((200, 900), 1)], ids=["wide", "narrow"])
def test_narrow_images_are_left_to_libpng(monkeypatch, shape, calls):
    pixels = some_pixels(shape, "uint8", 1)
    counted = libpng_calls(monkeypatch)
    assert np.array_equal(decode(encode_png(pixels), key="a.png")[0], pixels)
    assert len(counted) == calls


def test_masks_are_left_to_libpng(monkeypatch):
    mask = np.zeros((600, 1200, 1), np.uint8)
    mask[100:400, 300:900] = 1
    counted = libpng_calls(monkeypatch)
    assert np.array_equal(decode(encode_png(mask), key="a.png")[0], mask)
    assert counted == [1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 3), (48, 64), (701, 517)])
def test_a_stream_begins_with_a_few_bytes_by_themselves(shape):
    # What ISA-L makes of the third byte of a stream depends on what lay in a register, where it is given many at once.
    pixels = some_pixels(shape, "uint8", 1)
    (packed,) = (content for name, content in chunks_of(encode_png(pixels)) if name == b"IDAT")
    sync = packed.index(b"\0\0\xff\xff") + 4
    lines = next(module._filtered(pixels)).tobytes()
    assert zlib.decompressobj().decompress(packed[:sync]) == lines[:8]


def two_headers(data):
    return data[:33] + data[8:33] + data[33:]


def long_header(data):
    content = data[16:29] + b"\0"
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + content))
    return data[:8] + struct.pack(">I4s", 14, b"IHDR") + content + checksum + data[33:]


@pytest.mark.parametrize("spoil", [two_headers, long_header])
def test_odd_headers_are_left_to_libpng(monkeypatch, spoil):
    data = spoil(encode_png(some_pixels((200, 1100), "uint8", 1)))
    counted = libpng_calls(monkeypatch)
    with pytest.raises(DecodeError):
        decode(data, key="a.png")
    assert counted == [1]


def test_what_is_decoded_may_be_written_to():
    pixels = some_pixels((200, 300), "uint8", 3)
    read = decode(encode_png(pixels), key="a.png")[0]
    read[:] = 0
    assert read.flags.c_contiguous


def test_reading_holds_the_pixels_once():
    pixels = some_pixels((1000, 2000), "uint16", 3)
    data = encode_png(pixels)
    tracemalloc.start()
    decode(data, key="a.png")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < pixels.nbytes + 2 * len(data) + 4 * module._BAND  # what is packed, put together and inside ISA-L


def test_no_memory_is_an_op_error(monkeypatch):
    def fail(_):
        raise MemoryError("no room")

    monkeypatch.setattr(module.isal_zlib, "compressobj", fail)
    with pytest.raises(OpError, match="no room") as caught:
        Encoder("png").encode(some_pixels((4, 5), "uint8", 3))
    assert caught.value.step == "encode"
