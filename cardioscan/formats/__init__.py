"""Writing and reading digitized pages.

=========  ====================  =====================================================================================
format     files                 what a missing sample looks like
=========  ====================  =====================================================================================
csv        name.csv              an empty field
json       name.json             no samples in it: outcome, reasons, confidence, calibration, models, times
wfdb       name.hea, name.dat    -32768, which WFDB readers turn into NaN
npz        name.npz              NaN
parquet    name.parquet          null
edf        name.edf              -32768 (the digital minimum) and an EDF+ annotation for every gap
dicom      name.dcm              the Waveform Padding Value, -32768
fhir       name.fhir.json        "E" in SampledData; a lead without samples carries a dataAbsentReason
aecg       name.xml              the sample is not there: each sequence set holds the leads present in its interval
pdf        name.pdf              a gap in the line; a report to print, not to be read back
=========  ====================  =====================================================================================

Resolution: csv 0.1 uV; npz and parquet exact (float64); all others 1 uV, +-32.767 mV where samples are 16 bit.
A value that a format cannot hold is a :class:`~cardioscan.errors.FormatError`, never clipped.

Files are bytes of the record alone: no clock, no host name, so the same record gives the same bytes. No patient detail
is known to a record, and none is written. The formats that leave the research world (edf, dicom, fhir, aecg) do not
carry the record's name or the name of its input file either, since people name files after patients; the pdf does, for
the person who prints it.
"""

from __future__ import annotations

from cardioscan.formats._readers import ReadSignals, read_signals
from cardioscan.formats._registry import FormatWriter, format_names, select_writers, write_record, writers
from cardioscan.formats._wfdb import wfdb_record_name

__all__ = [
    "FormatWriter",
    "ReadSignals",
    "format_names",
    "read_signals",
    "select_writers",
    "wfdb_record_name",
    "write_record",
    "writers",
]
