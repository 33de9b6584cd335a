"""Encoded pictures and PDF files for the tests of reading images, and the check that one is refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cardioscan.errors import ImageError
from cardioscan.imaging.images import load_image

WIDTH, HEIGHT = 420, 310


def picture() -> np.ndarray:
    """A smooth picture without any symmetry, so that turned, mirrored and channel-swapped copies differ."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, (x + 2 * y) % 128], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def rgb_bytes(file_format: str, **options: object) -> bytes:
    return encoded(Image.fromarray(picture()), file_format, **options)


def pdf_bytes(*sizes: tuple[int, int]) -> bytes:
    """A minimal PDF: one page per size in points, white with a red square of 72 points at its lower left corner."""
    content = b"1 0 0 rg 0 0 72 72 re f"
    kids = b" ".join(b"%d 0 R" % (4 + k) for k in range(len(sizes)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(sizes)),
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        *(b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents 3 0 R>>" % size for size in sizes),
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)


def encrypted_pdf_bytes() -> bytes:
    """The same with a standard security handler whose password check cannot succeed."""
    entry = b"/Encrypt<</Filter/Standard/V 1/R 2/O<%s>/U<%s>/P -4>>/ID[<00><00>]" % (b"11" * 32, b"22" * 32)
    return pdf_bytes((792, 612)).replace(b"trailer<<", b"trailer<<" + entry)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(bytes(100)))
        + png_chunk(b"IEND", b"")
    )


def refused(source: object, **options: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)  # type: ignore[arg-type]
    assert caught.value.detail
    return caught.value
