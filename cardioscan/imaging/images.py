"""Reading and checking input images: files, bytes or arrays become one RGB page each, or an ``ImageError``.

What a file is, is decided by its first bytes, never by its name. Sizes are checked on the header, before anything is
decoded, so that a picture of 30,000 x 30,000 px costs no memory. Whether a page *shows* an ECG is not decided here.
"""

from __future__ import annotations

import glob
import importlib
import io
import math
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cardioscan.errors import ImageError, MissingDependencyError, RefusalCode

ImageSource = str | os.PathLike[str] | bytes | NDArray[Any]
"""A path, the encoded bytes of a file, or decoded pixels."""

PDF_DPI: Final = 200.0
"""Resolution at which PDF pages are rendered: that of the reference frame."""

KNOWN_SUFFIXES: Final = frozenset(
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".pdf", ".heic", ".heif")
)
"""File name endings (lower case) that ``expand_inputs`` picks out of folders."""

_PDF_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD
_PDF_LOCK = threading.Lock()  # PDFium may not be called from two threads at once
_EXIF_ORIENTATION = 0x0112
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_RASTERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,  # phones append depth maps and previews as further pictures; they are no pages
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
}
_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted, checked before decoding.

    Attributes:
        max_bytes: largest encoded input.
        max_pixels: largest width x height. Above about 179 million Pillow itself refuses TIFF files.
        max_side: largest width or height, px. OpenCV cannot warp pictures of 32,767 px or more to a side.
        min_side: smallest width and height, px; below it no trace of a 12-lead page can be read.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 100_000_000
    max_side: int = 32_000
    min_side: int = 300

    def check(self, width: int, height: int, name: str) -> None:
        """Raise ``ImageError`` (``image_too_small`` or ``image_too_large``) for a size in px outside the limits."""
        if min(width, height) < self.min_side:
            raise ImageError(
                RefusalCode.IMAGE_TOO_SMALL,
                f"{name} is {width} x {height} px; each side must have at least {self.min_side} px. "
                "Scan at 200 dpi or photograph the whole page at full resolution",
            )
        if width * height > self.max_pixels or max(width, height) > self.max_side:
            raise ImageError(
                RefusalCode.IMAGE_TOO_LARGE,
                f"{name} is {width} x {height} px; the limits are {self.max_pixels / 1e6:g} million px and "
                f"{self.max_side} px a side. Scale the picture down; 200 dpi are enough",
            )


DEFAULT_LIMITS: Final = ImageLimits()


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """One page as pixels.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright as far as the file says (EXIF), C-contiguous, read-only.
        name: file name without folders, or ``"bytes"`` / ``"array"``.
        page: index of the page in its file, from 0.
        n_pages: number of pages in the file.
        format: ``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``WEBP``, ``HEIF``, ``PDF`` or ``ARRAY``.
        dpi: resolution that the file claims (for a PDF, that of the rendering); None where it claims none, or
            different ones in x and y. A claim only: phones and editors write numbers without meaning.
    """

    pixels: NDArray[np.uint8]
    name: str
    page: int
    n_pages: int
    format: str
    dpi: float | None


def load_image(source: ImageSource, page: int = 0, limits: ImageLimits = DEFAULT_LIMITS) -> LoadedImage:
    """Read one page.

    Transparent parts become white, palettes and CMYK become RGB, deep grey is scaled to 8 bits, EXIF orientation is
    applied. PDF pages are rendered on white at 200 dpi. Only TIFF and PDF have more than one page; of an animation the
    first picture is taken.

    Args:
        source: a path, encoded bytes, or a uint8 array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.
        page: page of the file, from 0.
        limits: what is accepted.

    Raises:
        ImageError: the source cannot be read; ``code`` says why.
        MissingDependencyError: a PDF, and pypdfium2 is not installed.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, page, limits)
    name, data = _read(source, limits)
    kind = _kind(data, name)
    if kind == "PDF":
        with _pdf(data, name) as document:
            _check_page(page, len(document), name)
            return LoadedImage(_render(document, page, name, limits), name, page, len(document), kind, PDF_DPI)
    with _raster(data, kind, name) as image:
        n_pages = _n_frames(image, kind)
        _check_page(page, n_pages, name)
        if n_pages > 1:
            image.seek(page)
        limits.check(*image.size, name)
        dpi = _dpi(image.info.get("dpi"))
        image.load()
        orientation = _orientation(image)  # after load(): Pillow turns TIFFs there and then forgets the tag
        pixels = _to_rgb(image, name)
    if orientation in _UPRIGHT:
        pixels = _UPRIGHT[orientation](pixels)
    return LoadedImage(_frozen(pixels), name, page, n_pages, kind, dpi)


def count_pages(source: ImageSource, limits: ImageLimits = DEFAULT_LIMITS) -> int:
    """Number of pages in a source; 1 for an array and for every format but TIFF and PDF. Decodes no pixels.

    Raises:
        ImageError: the source cannot be read at all; ``code`` says why.
        MissingDependencyError: a PDF, and pypdfium2 is not installed.
    """
    if isinstance(source, np.ndarray):
        return 1
    name, data = _read(source, limits)
    kind = _kind(data, name)
    if kind == "PDF":
        with _pdf(data, name) as document:
            return len(document)
    with _raster(data, kind, name) as image:
        return _n_frames(image, kind)


def expand_inputs(patterns: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files that a list of files, folders and glob patterns stands for.

    A folder gives its own files of known type (one level, no hidden files), a glob its matches of known type
    (``**`` goes through sub-folders); both in order of name. Order of the arguments is kept and a file met twice is
    listed once. Nothing vanishes silently: a missing file, a folder without pages and a glob without matches stay in
    the list as they are, and matches of unknown type stay where a glob has no others, so that ``load_image`` can say
    what is wrong with them.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            members = sorted(member for member in path.iterdir() if not member.name.startswith("."))
            paths = [member for member in members if _known_file(member)] or [path]
        elif not path.exists() and glob.has_magic(os.fspath(pattern)):
            matches = sorted(Path(match) for match in glob.glob(os.fspath(pattern), recursive=True))
            files = [match for match in matches if match.is_file()]
            paths = [match for match in files if _known_file(match)] or files or [path]
        else:
            paths = [path]
        for member in paths:
            found.setdefault(os.path.realpath(member), member)
    return list(found.values())


def _known_file(path: Path) -> bool:
    return path.suffix.lower() in KNOWN_SUFFIXES and path.is_file()


def _frozen(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels = np.ascontiguousarray(pixels)
    pixels.setflags(write=False)
    return pixels


def _from_array(array: NDArray[Any], page: int, limits: ImageLimits) -> LoadedImage:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not shape_ok:
        raise ImageError(
            RefusalCode.NOT_AN_IMAGE,
            f"array of {array.dtype} with shape {array.shape}; give uint8 of shape (H, W), (H, W, 3) RGB or "
            "(H, W, 4) RGBA",
        )
    _check_page(page, 1, "array")
    limits.check(array.shape[1], array.shape[0], "array")
    if array.ndim == 3 and array.shape[2] == 4:
        pixels = _to_rgb(Image.fromarray(np.ascontiguousarray(array), "RGBA"), "array")
    else:
        pixels = np.empty((*array.shape[:2], 3), np.uint8)  # a copy: the caller may go on writing to his
        pixels[...] = array if array.ndim == 3 else array[..., None]
    return LoadedImage(_frozen(pixels), "array", 0, 1, "ARRAY", None)


def _read(source: str | os.PathLike[str] | bytes, limits: ImageLimits) -> tuple[str, bytes]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, data = "bytes", bytes(source)
    else:
        name, data = Path(source).name or os.fspath(source), _read_file(Path(source), limits)
    if not data:
        raise ImageError(RefusalCode.EMPTY_FILE, f"{name} is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise ImageError(
            RefusalCode.IMAGE_TOO_LARGE, f"{name} has more than {limits.max_bytes / 2**20:g} MiB, the largest size read"
        )
    return name, data


def _read_file(path: Path, limits: ImageLimits) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(RefusalCode.NOT_AN_IMAGE, f"{path} is a folder; no page was found in it")
        if not stat.S_ISREG(mode):
            raise ImageError(RefusalCode.NOT_AN_IMAGE, f"{path} is not a regular file")
        with path.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(RefusalCode.FILE_NOT_FOUND, f"there is no file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise ImageError(RefusalCode.FILE_NOT_FOUND, f"{str(path)!r} cannot be opened: {error}") from error


def _kind(data: bytes, name: str) -> str:
    """Name of the format by its signature."""
    head = data[:1024]
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    # "BM" alone also begins many a text.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "HEIF"
    if b"%PDF-" in head:
        return "PDF"
    raise ImageError(
        RefusalCode.NOT_AN_IMAGE, f"{name} is none of PNG, JPEG, TIFF, BMP, WebP, HEIC or PDF, whatever its name says"
    )


def _check_page(page: int, n_pages: int, name: str) -> None:
    if not 0 <= page < n_pages:
        raise ImageError(RefusalCode.PAGE_NOT_FOUND, f"{name} has no page {page}; its pages are 0 to {n_pages - 1}")


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn whatever a decoder throws at damaged input into an ``ImageError``; keep Pillow's warnings quiet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield
        except (ImageError, MissingDependencyError):
            raise
        except (Image.DecompressionBombError, MemoryError) as error:
            raise ImageError(RefusalCode.IMAGE_TOO_LARGE, f"{name} is too large to decode: {error}") from error
        except Exception as error:  # decoders meet hostile bytes here and raise almost every built-in error
            raise ImageError(RefusalCode.CORRUPT_IMAGE, f"{name} is damaged or cut off: {error}") from error


@contextmanager
def _raster(data: bytes, kind: str, name: str) -> Iterator[ImageFile.ImageFile]:
    """Open a picture up to its header. Pillow's own ``Image.open`` would apply limits of the process, not ours."""
    with _refusing(name):
        with _raster_class(kind, name)(io.BytesIO(data)) as image:
            yield image


def _raster_class(kind: str, name: str) -> type[ImageFile.ImageFile]:
    if kind != "HEIF":
        return _RASTERS[kind]
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError:
        raise ImageError(
            RefusalCode.NOT_AN_IMAGE,
            f"{name} is a HEIC picture, which needs the optional package pillow-heif: pip install pillow-heif, "
            "or save the picture as JPEG",
        ) from None
    image_class: type[ImageFile.ImageFile] = heif.HeifImageFile
    return image_class


def _n_frames(image: ImageFile.ImageFile, kind: str) -> int:
    return int(getattr(image, "n_frames", 1)) if kind == "TIFF" else 1


def _dpi(value: object) -> float | None:
    try:
        x, y = (float(v) for v in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return x if math.isfinite(x) and x > 0 and math.isclose(x, y, rel_tol=0.01) else None


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block is no reason to refuse a sound picture
        return 1


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Pixels of a decoded picture of any mode as (H, W, 3) uint8 RGB over white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image), name))
    try:
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.new("RGB", rgba.size, "white")
            image.paste(rgba, mask=rgba.getchannel("A"))
        elif image.mode != "RGB":
            image = image.convert("RGB")
    except ValueError as error:
        raise ImageError(RefusalCode.NOT_AN_IMAGE, f"{name}: colour mode {image.mode} is not supported") from error
    # Read-only, as the picture will be; NumPy's way by the array interface copies the bytes once more.
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)


def _eight_bits(grey: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Deep grey to 8 bits.

    Scanners store 10, 12 or 14 bits in 16 without saying so, hence white is the top of the smallest usual depth that
    holds the brightest pixel. Pictures of real numbers up to 1 are taken as 0..1.
    """
    peak, low = float(grey.max()), float(grey.min())
    if not (math.isfinite(peak) and math.isfinite(low)):
        raise ImageError(RefusalCode.CORRUPT_IMAGE, f"{name} holds pixels that are no numbers")
    depths = (1.0, 255.0) if grey.dtype.kind == "f" else (255.0,)
    white = next((top for top in (*depths, 1023.0, 4095.0, 16383.0, 65535.0) if peak <= top), peak)
    return np.asarray(np.clip(np.rint(grey * np.float32(255.0 / white)), 0, 255), np.uint8)


def _pdfium() -> ModuleType:
    try:
        return importlib.import_module("pypdfium2")
    except ImportError:
        raise MissingDependencyError("pypdfium2", "pdf", "Reading PDF pages") from None


@contextmanager
def _pdf(data: bytes, name: str) -> Iterator[Any]:
    pdfium = _pdfium()
    with _PDF_LOCK, _refusing(name):
        try:
            document = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as error:
            # PDFium may repeat the error of an earlier document, so the file itself has to speak of encryption too.
            if getattr(error, "err_code", None) == _PDF_PASSWORD_ERROR and b"/Encrypt" in data:
                raise ImageError(
                    RefusalCode.ENCRYPTED_DOCUMENT, f"{name} is protected by a password; save it without one"
                ) from error
            raise
        try:
            if len(document) == 0:
                raise ImageError(RefusalCode.CORRUPT_IMAGE, f"{name} is a PDF without pages")
            yield document
        finally:
            document.close()


def _render(document: Any, index: int, name: str, limits: ImageLimits) -> NDArray[np.uint8]:
    page = document[index]
    scale = PDF_DPI / 72.0  # PDF pages are measured in points, 1/72 inch
    width, height = (math.ceil(side * scale) for side in page.get_size())
    limits.check(width, height, name)
    bitmap = page.render(scale=scale, rev_byteorder=True)  # RGB instead of PDFium's BGR
    pixels = np.array(bitmap.to_numpy())[..., :3]  # a copy: the bitmap's memory goes with the document
    return _frozen(pixels)
