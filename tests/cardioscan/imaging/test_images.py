from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cardioscan.errors import ImageError, MissingDependencyError, RefusalCode
from cardioscan.imaging import images
from cardioscan.imaging.images import ImageLimits, count_pages, expand_inputs, load_image

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


# --- formats and modes ------------------------------------------------------------------------------------------


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


def test_loaded_image_cannot_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "Seite 1.png"
    path.write_bytes(rgb_bytes("PNG"))
    loaded = load_image(str(path))
    assert loaded.name == "Seite 1.png"
    with pytest.raises(ValueError):
        loaded.pixels[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        loaded.page = 2  # type: ignore[misc]


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


def test_pdf_pages_are_rendered_at_200_dpi() -> None:
    pytest.importorskip("pypdfium2")
    data = pdf_bytes((792, 612), (612, 792))
    assert count_pages(data) == 2
    first, second = load_image(data), load_image(data, page=1)
    assert first.pixels.shape == (1700, 2200, 3)
    assert second.pixels.shape == (2200, 1700, 3)
    assert (first.format, first.dpi, second.page, second.n_pages) == ("PDF", 200.0, 1, 2)
    assert first.pixels[-100, 100].tolist() == [255, 0, 0]
    assert first.pixels[100, 100].tolist() == [255, 255, 255]
    red = (first.pixels == (255, 0, 0)).all(axis=-1)
    assert red.sum() == pytest.approx(200 * 200, rel=0.02)
    assert refused(data, page=2).code is RefusalCode.PAGE_NOT_FOUND


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encrypted_pdf_bytes(), RefusalCode.ENCRYPTED_DOCUMENT),
        (pdf_bytes((14400, 14400)), RefusalCode.IMAGE_TOO_LARGE),
        (pdf_bytes((72, 72)), RefusalCode.IMAGE_TOO_SMALL),
        (pdf_bytes(), RefusalCode.CORRUPT_IMAGE),
        (b"%PDF-1.4\nnothing more", RefusalCode.CORRUPT_IMAGE),
    ],
)
def test_refused_pdfs(data: bytes, code: RefusalCode) -> None:
    pytest.importorskip("pypdfium2")
    assert refused(data).code is code


def test_missing_pdf_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(MissingDependencyError, match="pypdfium2"):
        load_image(pdf_bytes((792, 612)))


# --- refusals ---------------------------------------------------------------------------------------------------


def test_missing_file_folder_and_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert refused(tmp_path / "no.png").code is RefusalCode.FILE_NOT_FOUND
    assert refused(tmp_path / "empty.png" / "no.png").code is RefusalCode.FILE_NOT_FOUND
    assert refused("a\0b.png").code is RefusalCode.FILE_NOT_FOUND
    assert refused(tmp_path).code is RefusalCode.NOT_AN_IMAGE
    assert refused(tmp_path / "empty.png").code is RefusalCode.EMPTY_FILE
    assert refused(b"").code is RefusalCode.EMPTY_FILE
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        assert refused(tmp_path / "pipe.png").code is RefusalCode.NOT_AN_IMAGE


@pytest.mark.parametrize(
    "data", [b"this is a text", b"BMI of the patient: 24, further words to fill the line", b"GIF89a", b"\0" * 5000]
)
def test_whatever_is_no_picture_is_refused_for_what_it_is(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "page.png"
    path.write_bytes(data)
    assert refused(path).code is RefusalCode.NOT_AN_IMAGE
    with pytest.raises(ImageError):
        count_pages(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
        ("WEBP", {}),
    ],
)
def test_truncated_files_are_refused(file_format: str, options: dict, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    data = encoded(Image.fromarray(noise), file_format, **options)
    assert refused(data[: int(share * len(data))]).code is RefusalCode.CORRUPT_IMAGE


def test_too_small() -> None:
    assert refused(encoded(Image.new("RGB", (1, 1)), "PNG")).code is RefusalCode.IMAGE_TOO_SMALL
    assert refused(encoded(Image.new("RGB", (2000, 299)), "PNG")).code is RefusalCode.IMAGE_TOO_SMALL
    assert load_image(encoded(Image.new("RGB", (300, 300)), "PNG")).pixels.shape == (300, 300, 3)


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (png_header(30_000, 30_000), ImageLimits()),
        (png_header(32_001, 400), ImageLimits()),
        (rgb_bytes("TIFF"), ImageLimits(max_pixels=100_000)),
        (rgb_bytes("WEBP"), ImageLimits(max_side=400)),
        (rgb_bytes("JPEG"), ImageLimits(max_bytes=500)),
    ],
)
def test_too_large(data: bytes, limits: ImageLimits, tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_bytes(data)
    assert refused(data, limits=limits).code is RefusalCode.IMAGE_TOO_LARGE
    assert refused(path, limits=limits).code is RefusalCode.IMAGE_TOO_LARGE


def test_a_huge_picture_costs_no_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="needs the module resource (Unix)")
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(30_000, 30_000))
    program = (
        "import resource, sys\n"
        "from cardioscan.imaging.images import load_image\n"
        "from cardioscan.errors import ImageError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: load_image(sys.argv[1])\n"
        "except ImageError as error: print(error.code.value)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert after - before < 50 * (1024 if sys.platform != 'darwin' else 2**20), (before, after)\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False, cwd=root, timeout=120
    )
    assert done.stdout.strip() == "image_too_large", done.stderr


def test_size_warnings_and_limits_of_pillow_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for file_format in ("PNG", "TIFF", "JPEG"):
        data = rgb_bytes(file_format)
        for pixels in (100_000, 1_000):  # Pillow warns above its limit and raises above twice of it
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                if file_format == "TIFF" and pixels == 1_000:  # Pillow's own refusal inside the TIFF decoder
                    assert refused(data).code is RefusalCode.IMAGE_TOO_LARGE
                else:
                    assert load_image(data).pixels.shape == (HEIGHT, WIDTH, 3)


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


@settings(max_examples=60, deadline=None)
@given(
    file_format=st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PDF"]),
    position=st.floats(0, 1),
    junk=st.binary(min_size=1, max_size=40),
)
def test_damaged_bytes_give_a_picture_or_a_refusal(file_format: str, position: float, junk: bytes) -> None:
    if file_format == "PDF":
        pytest.importorskip("pypdfium2")
    data = bytearray(pdf_bytes((400, 300)) if file_format == "PDF" else rgb_bytes(file_format))
    start = int(position * (len(data) - 1))
    data[start : start + len(junk)] = junk
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            loaded = load_image(bytes(data))
        except ImageError as error:
            assert isinstance(error.code, RefusalCode)
        else:
            assert loaded.pixels.dtype == np.uint8
            assert loaded.pixels.ndim == 3
            assert loaded.pixels.shape[2] == 3


# --- arrays -----------------------------------------------------------------------------------------------------


def test_arrays() -> None:
    rgb = picture()
    loaded = load_image(rgb)
    np.testing.assert_array_equal(loaded.pixels, rgb)
    assert (loaded.format, loaded.name, loaded.n_pages, count_pages(rgb)) == ("ARRAY", "array", 1, 1)
    np.testing.assert_array_equal(load_image(rgb[..., 0]).pixels, np.repeat(rgb[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(load_image(rgb[..., :1]).pixels, np.repeat(rgb[..., :1], 3, axis=-1))
    half = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
    over_white = load_image(np.concatenate([rgb, half], axis=-1)).pixels
    np.testing.assert_allclose(over_white, rgb * (128 / 255) + 255 * (127 / 255), atol=1)
    np.testing.assert_array_equal(load_image(rgb[:, ::-1]).pixels, rgb[:, ::-1])


def test_an_array_is_copied() -> None:
    rgb = picture()
    loaded = load_image(rgb)
    rgb[:] = 0
    assert loaded.pixels.any()


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((400, 400), np.float32), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((400, 400), bool), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((400, 400, 2), np.uint8), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((3, 400, 400), np.uint8), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((1, 400, 400, 3), np.uint8), RefusalCode.NOT_AN_IMAGE),
        (np.zeros(5000, np.uint8), RefusalCode.NOT_AN_IMAGE),
        (np.zeros((0, 0, 3), np.uint8), RefusalCode.IMAGE_TOO_SMALL),
        (np.broadcast_to(np.uint8(0), (30_000, 30_000, 3)), RefusalCode.IMAGE_TOO_LARGE),
    ],
)
def test_refused_arrays(array: np.ndarray, code: RefusalCode) -> None:
    assert refused(array).code is code


def test_an_array_has_one_page() -> None:
    assert refused(picture(), page=1).code is RefusalCode.PAGE_NOT_FOUND


# --- lists of inputs --------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a.jpg", "c.pdf", "notes.txt", ".hidden.png", "odd[1].png", "sub/d.tif", "other/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "void").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["."], ["a.jpg", "b.PNG", "c.pdf", "odd[1].png"]),
        (["sub", "."], ["sub/d.tif", "a.jpg", "b.PNG", "c.pdf", "odd[1].png"]),
        (["c.pdf", "a.jpg", "c.pdf", "./a.jpg"], ["c.pdf", "a.jpg"]),
        (["*.jpg", "a.jpg"], ["a.jpg"]),
        (["?.*"], ["a.jpg", "b.PNG", "c.pdf"]),
        (["**/*"], ["a.jpg", "b.PNG", "c.pdf", "odd[1].png", "sub/d.tif"]),
        (["odd[1].png"], ["odd[1].png"]),
        (["notes.txt"], ["notes.txt"]),
        (["*.txt"], ["notes.txt"]),
        (["missing.png", "a.jpg"], ["missing.png", "a.jpg"]),
        (["*.dcm"], ["*.dcm"]),
        (["void"], ["void"]),
        (["other"], ["other"]),
        ([], []),
    ],
)
def test_expand_inputs(tree: Path, monkeypatch: pytest.MonkeyPatch, patterns: list[str], expected: list[str]) -> None:
    monkeypatch.chdir(tree)
    assert [path.as_posix() for path in expand_inputs(patterns)] == expected


def test_known_suffixes_are_lower_case_with_a_dot() -> None:
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in images.KNOWN_SUFFIXES)


# --- real files -------------------------------------------------------------------------------------------------


def test_real_pages(shared_data: Path) -> None:
    page = load_image(shared_data / "pages" / "892067079-0001.png")
    assert page.pixels.shape == (1700, 2200, 3)
    photo = load_image(next(iter(expand_inputs([shared_data / "photos"]))))
    assert photo.format == "JPEG"


def test_real_pdf(shared_data: Path) -> None:
    pytest.importorskip("pypdfium2")
    loaded = load_image(expand_inputs([shared_data / "pdf_pages" / "*.pdf"])[0])
    assert loaded.pixels.shape == (1654, 2339, 3)
    assert loaded.pixels.std() > 5
