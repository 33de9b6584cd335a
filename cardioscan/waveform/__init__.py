"""From the stroke coverage of each printed row to signals in mV.

The modules in the order in which a page goes through them:

1. :mod:`~cardioscan.waveform.extraction` asks the network which ink is which row's.
2. :mod:`~cardioscan.waveform.crossing` gives ink of waves that run into other rows back to the row whose it is.
3. :mod:`~cardioscan.waveform.row_paths` leads one path through each row (:mod:`~cardioscan.waveform.path`, in the
   bands of :mod:`~cardioscan.waveform.bands`): it names the ink that is the trace.
4. :mod:`~cardioscan.waveform.strokes` measures that ink's edges and :mod:`~cardioscan.waveform.pen` undoes the pen.
5. :mod:`~cardioscan.waveform.heights` fits the samples so that drawing them gives those edges
   (:mod:`~cardioscan.waveform.fit`).
6. :mod:`~cardioscan.waveform.decode` does 2 to 5 and turns heights into mV; :mod:`~cardioscan.waveform.trace` is the
   stage of the pipeline.

docs/waveform-decoding.md explains the steps, docs/notes/2026-11-22-decoder-on-damaged-strokes.md what each is worth.
"""

from __future__ import annotations

from cardioscan.waveform.decode import DecodedPage, Reading, decode_rows

__all__ = ["DecodedPage", "Reading", "decode_rows"]
