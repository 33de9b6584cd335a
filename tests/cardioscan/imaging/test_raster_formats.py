"""Pictures of every format and mode become the RGB pages that they show."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from cardioscan.errors import RefusalCode
from cardioscan.imaging.images import count_pages, load_image
from tests.cardioscan.imaging.encoded_pictures import HEIGHT, WIDTH, encoded, picture, png_chunk, refused, rgb_bytes


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_come_back_exactly(file_format: str, options: dict) -> None:
    loaded = load_image(rgb_bytes(file_format, **options))
    np.testing.assert_array_equal(loaded.pixels, picture())
    assert (loaded.format, loaded.page, loaded.n_pages, loaded.name) == (file_format, 0, 1, "bytes")
    assert loaded.pixels.flags.c_contiguous


@pytest.mark.parametrize(("file_format", "options"), [("JPEG", {"quality": 95, "subsampling": 0}), ("WEBP", {})])
def test_lossy_formats_come_back_closely(file_format: str, options: dict) -> None:
    loaded = load_image(rgb_bytes(file_format, **options))
    assert np.abs(loaded.pixels.astype(int) - picture()).mean() < 3


def test_progressive_jpeg() -> None:
    assert load_image(rgb_bytes("JPEG", progressive=True)).format == "JPEG"


@pytest.mark.parametrize("white", [1023, 4095, 65535])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_by_its_depth(file_format: str, white: int) -> None:
    ramp = np.linspace(0, white, WIDTH).astype(np.uint16)
    loaded = load_image(encoded(Image.fromarray(np.tile(ramp, (HEIGHT, 1))), file_format))
    expected = np.linspace(0, 255, WIDTH)
    assert np.abs(loaded.pixels[0, :, 0] - expected).max() <= 1
    assert (loaded.pixels[..., 0] == loaded.pixels[..., 2]).all()


@pytest.mark.parametrize(
    ("array", "white"),
    [
        (np.linspace(0, 1, WIDTH, dtype=np.float32), 1.0),
        (np.linspace(0, 255, WIDTH, dtype=np.float32), 255.0),
        (np.linspace(0, 65535, WIDTH, dtype=np.float32).astype(np.int32), 65535.0),
    ],
)
def test_float_and_32_bit_tiffs(array: np.ndarray, white: float) -> None:
    loaded = load_image(encoded(Image.fromarray(np.tile(array, (HEIGHT, 1))), "TIFF"))
    assert np.abs(loaded.pixels[0, :, 1] - array / white * 255).max() <= 1


def test_float_tiff_with_nan_is_refused() -> None:
    array = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    assert refused(encoded(Image.fromarray(array), "TIFF")).code is RefusalCode.CORRUPT_IMAGE


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = Image.fromarray(picture()).convert(mode)
    loaded = load_image(encoded(image, "TIFF"))
    np.testing.assert_array_equal(loaded.pixels, np.asarray(image.convert("RGB")))


def test_cmyk_jpeg_is_not_inverted() -> None:
    white = Image.new("CMYK", (WIDTH, HEIGHT), (0, 0, 0, 0))
    assert load_image(encoded(white, "JPEG")).pixels.min() > 250


def test_sixteen_bit_colour_png() -> None:
    row = np.array([[0x12, 0x34], [0xAB, 0xCD], [0xFF, 0x00]], np.uint8).tobytes() * WIDTH
    data = (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress((b"\0" + row) * HEIGHT))
        + png_chunk(b"IEND", b"")
    )
    assert load_image(data).pixels[5, 7].tolist() == [0x12, 0xAB, 0xFF]


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_transparent_parts_become_white(file_format: str) -> None:
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, : WIDTH // 2] = 255
    image = Image.fromarray(np.concatenate([picture(), alpha], axis=-1))
    options = {"lossless": True} if file_format == "WEBP" else {}
    pixels = load_image(encoded(image, file_format, **options)).pixels
    assert (pixels[:, WIDTH // 2 :] == 255).all()
    np.testing.assert_array_equal(pixels[:, : WIDTH // 2], picture()[:, : WIDTH // 2])


def test_palette_and_grey_transparency() -> None:
    palette = Image.new("P", (WIDTH, HEIGHT), 1)
    palette.putpalette([10, 20, 30, 0, 0, 0])
    assert (load_image(encoded(palette, "PNG", transparency=1)).pixels == 255).all()
    grey = Image.new("LA", (WIDTH, HEIGHT), (0, 128))
    assert np.abs(load_image(encoded(grey, "PNG")).pixels.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG"])
def test_exif_orientation_is_applied(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = rgb_bytes(file_format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    np.testing.assert_array_equal(load_image(data).pixels, np.asarray(expected))
    assert expected.size == ((HEIGHT, WIDTH) if orientation > 4 else (WIDTH, HEIGHT))


def test_damaged_exif_is_ignored() -> None:
    assert load_image(rgb_bytes("JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")).pixels.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("options", "expected"), [({}, None), ({"dpi": (200, 200)}, 200.0), ({"dpi": (200, 100)}, None)]
)
def test_dpi_is_the_claim_of_the_file(options: dict, expected: float | None) -> None:
    assert load_image(rgb_bytes("PNG", **options)).dpi == pytest.approx(expected, abs=0.1)


# --- several pages ----------------------------------------------------------------------------------------------


def test_tiff_pages() -> None:
    pages = [Image.new("RGB", (WIDTH + 10 * k, HEIGHT), (10 * k, 0, 0)) for k in range(3)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert count_pages(data) == 3
    for k in (2, 0, 1):
        loaded = load_image(data, page=k)
        assert (loaded.page, loaded.n_pages) == (k, 3)
        assert loaded.pixels.shape == (HEIGHT, WIDTH + 10 * k, 3)
        assert (loaded.pixels[..., 0] == 10 * k).all()
    for k in (3, -1):
        assert refused(data, page=k).code is RefusalCode.PAGE_NOT_FOUND


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_an_animation_is_one_page(file_format: str) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), (c, c, c)) for c in (250, 10)]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], lossless=True)
    assert count_pages(data) == 1
    assert load_image(data).pixels.min() > 245
    assert refused(data, page=1).code is RefusalCode.PAGE_NOT_FOUND


def test_further_pictures_of_a_phone_jpeg_are_no_pages() -> None:
    preview = Image.new("RGB", (64, 64))
    data = encoded(Image.fromarray(picture()), "MPO", save_all=True, append_images=[preview])
    loaded = load_image(data)
    assert (loaded.format, loaded.n_pages, loaded.pixels.shape) == ("JPEG", 1, (HEIGHT, WIDTH, 3))


def test_heic_without_its_package_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = refused(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert error.code is RefusalCode.NOT_AN_IMAGE
    assert "pillow-heif" in error.detail


def test_heic() -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif")
    buffer = io.BytesIO()
    try:
        heif.from_pillow(Image.fromarray(picture())).save(buffer, quality=95)
    except Exception as error:
        pytest.skip(f"needs an HEVC encoder in pillow-heif: {error}")
    loaded = load_image(buffer.getvalue())
    assert (loaded.format, loaded.pixels.shape) == ("HEIF", (HEIGHT, WIDTH, 3))
    assert np.abs(loaded.pixels.astype(int) - picture()).mean() < 5
