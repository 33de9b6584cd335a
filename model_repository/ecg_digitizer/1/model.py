"""The whole pipeline. Needs CardioScan in the Python that runs Triton's backend."""

from cardioscan_export.digitizer_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
