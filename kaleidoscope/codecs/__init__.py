"""Bytes to pixels and back; never paths."""

from kaleidoscope.codecs.decode import KNOWN_EXTENSIONS, decode
from kaleidoscope.codecs.encode import Encoder

__all__ = ["KNOWN_EXTENSIONS", "Encoder", "decode"]
