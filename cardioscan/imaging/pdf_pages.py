"""Rendering PDF pages as pictures, by pypdfium2.

Sizes and page numbers are checked by the caller (:mod:`cardioscan.imaging.images`), which also turns the errors that
PDFium raises on damaged files into refusals.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cardioscan.errors import ImageError, MissingDependencyError, RefusalCode

PDF_DPI: Final = 200.0
"""Resolution at which PDF pages are rendered: that of the reference frame."""

_PIXELS_PER_POINT: Final = PDF_DPI / 72.0  # PDF pages are measured in points, 1/72 inch
_PASSWORD_ERROR: Final = 4  # FPDF_ERR_PASSWORD
_PDFIUM_LOCK: Final = threading.Lock()  # PDFium may not be called from two threads at once


@contextmanager
def open_pdf(data: bytes, name: str) -> Iterator[Any]:
    """Open a document as a ``pypdfium2.PdfDocument``; no other thread can open one meanwhile.

    Args:
        data: the file.
        name: what messages call it.

    Raises:
        ImageError: the document is protected by a password or has no pages.
        MissingDependencyError: pypdfium2 is not installed.
    """
    pdfium = _pdfium()
    with _PDFIUM_LOCK:
        try:
            document = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as error:
            # PDFium may repeat the error of an earlier document, so the file itself has to speak of encryption too.
            if getattr(error, "err_code", None) == _PASSWORD_ERROR and b"/Encrypt" in data:
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


def page_size_px(page: Any) -> tuple[int, int]:
    """Width and height, px, that a ``pypdfium2.PdfPage`` will have at ``PDF_DPI``."""
    width, height = (math.ceil(side * _PIXELS_PER_POINT) for side in page.get_size())
    return width, height


def render_page(page: Any) -> NDArray[np.uint8]:
    """A ``pypdfium2.PdfPage`` on white at ``PDF_DPI``: (H, W, 3) uint8 RGB."""
    bitmap = page.render(scale=_PIXELS_PER_POINT, rev_byteorder=True)  # RGB instead of PDFium's BGR
    return np.array(bitmap.to_numpy())[..., :3]  # a copy: the bitmap's memory goes with the document


def _pdfium() -> ModuleType:
    try:
        return importlib.import_module("pypdfium2")
    except ImportError:
        raise MissingDependencyError("pypdfium2", "pdf", "Reading PDF pages") from None
