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
    from cardioscan.imaging.images import load_image as load_image
    from cardioscan.page.template import LEADS as LEADS
    from cardioscan.page.template import STANDARD_PAGE as STANDARD_PAGE
    from cardioscan.page.template import PageTemplate as PageTemplate
    from cardioscan.pipeline import Digitization as Digitization
    from cardioscan.pipeline import Digitizer as Digitizer
    from cardioscan.pipeline import DigitizerOptions as DigitizerOptions
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
    "LEADS": "page.template",
    "STANDARD_PAGE": "page.template",
    "PageTemplate": "page.template",
    "Digitization": "pipeline",
    "Digitizer": "pipeline",
    "DigitizerOptions": "pipeline",
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
