"""CardioScan: photographs, scans and PDFs of printed 12-lead ECGs as calibrated signals (12 x 5000, mV, 500 Hz).

    >>> import cardioscan
    >>> record = cardioscan.Digitizer().digitize("page.jpg")
    >>> record.outcome, record.lead("II"), record.lead_confidence()

The names below are loaded on first use, so that ``import cardioscan`` itself costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cardioscan.errors import CardioscanError as CardioscanError
    from cardioscan.errors import PageRefusedError as PageRefusedError
    from cardioscan.errors import RefusalCode as RefusalCode
    from cardioscan.evaluate.measure import compare as compare
    from cardioscan.formats import write_record as write_record
    from cardioscan.imaging.images import load_image as load_image
    from cardioscan.options import DigitizerOptions as DigitizerOptions
    from cardioscan.page.catalogue import find_layout as find_layout
    from cardioscan.page.layout import Layout as Layout
    from cardioscan.page.leads import LEADS as LEADS
    from cardioscan.page.read_page import ReadPage as ReadPage
    from cardioscan.page.scale import Scale as Scale
    from cardioscan.page.sheet import Sheet as Sheet
    from cardioscan.pipeline import Digitizer as Digitizer
    from cardioscan.plots import plot_record as plot_record
    from cardioscan.record import Digitization as Digitization
    from cardioscan.record import EcgRecord as EcgRecord
    from cardioscan.record import Outcome as Outcome
    from cardioscan.record import Reason as Reason

__version__ = "0.1.0"

_HOME: Final = {
    "CardioscanError": "errors",
    "PageRefusedError": "errors",
    "RefusalCode": "errors",
    "compare": "evaluate.measure",
    "load_image": "imaging.images",
    "plot_record": "plots",
    "write_record": "formats",
    "LEADS": "page.leads",
    "Layout": "page.layout",
    "ReadPage": "page.read_page",
    "Scale": "page.scale",
    "Sheet": "page.sheet",
    "find_layout": "page.catalogue",
    "Digitization": "record",
    "Digitizer": "pipeline",
    "DigitizerOptions": "options",
    "EcgRecord": "record",
    "Outcome": "record",
    "Reason": "record",
}
"""Module of each public name."""

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    """Load a public name from its module. Raises AttributeError for any other name."""
    if name not in _HOME:
        raise AttributeError(f"module 'cardioscan' has no attribute {name!r}")
    value: object = getattr(import_module(f"cardioscan.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
