"""Stage 2 after the network: stroke coverage of each printed row becomes signals in mV.

Three steps: one path per row names the ink that is the trace (:mod:`~cardioscan.waveform.path`), its edges are measured
and the pen undone (:mod:`~cardioscan.waveform.pen`), and the samples are fitted so that drawing them gives those edges
(:mod:`~cardioscan.waveform.fit`). What each step is worth stands in ``docs/waveform-decoding.md``.
"""

from __future__ import annotations

from cardioscan.waveform.decode import DecodedPage, Reading, decode_rows
from cardioscan.waveform.options import DecodingOptions

__all__ = ["DecodedPage", "DecodingOptions", "Reading", "decode_rows"]
