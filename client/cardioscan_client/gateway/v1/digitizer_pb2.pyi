from google.protobuf import struct_pb2 as _struct_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_DIGITIZED: _ClassVar[Outcome]
    OUTCOME_REFUSED: _ClassVar[Outcome]

class LeadName(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEAD_NAME_UNSPECIFIED: _ClassVar[LeadName]
    LEAD_NAME_I: _ClassVar[LeadName]
    LEAD_NAME_II: _ClassVar[LeadName]
    LEAD_NAME_III: _ClassVar[LeadName]
    LEAD_NAME_AVR: _ClassVar[LeadName]
    LEAD_NAME_AVL: _ClassVar[LeadName]
    LEAD_NAME_AVF: _ClassVar[LeadName]
    LEAD_NAME_V1: _ClassVar[LeadName]
    LEAD_NAME_V2: _ClassVar[LeadName]
    LEAD_NAME_V3: _ClassVar[LeadName]
    LEAD_NAME_V4: _ClassVar[LeadName]
    LEAD_NAME_V5: _ClassVar[LeadName]
    LEAD_NAME_V6: _ClassVar[LeadName]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_DIGITIZED: Outcome
OUTCOME_REFUSED: Outcome
LEAD_NAME_UNSPECIFIED: LeadName
LEAD_NAME_I: LeadName
LEAD_NAME_II: LeadName
LEAD_NAME_III: LeadName
LEAD_NAME_AVR: LeadName
LEAD_NAME_AVL: LeadName
LEAD_NAME_AVF: LeadName
LEAD_NAME_V1: LeadName
LEAD_NAME_V2: LeadName
LEAD_NAME_V3: LeadName
LEAD_NAME_V4: LeadName
LEAD_NAME_V5: LeadName
LEAD_NAME_V6: LeadName

class DigitizeRequest(_message.Message):
    __slots__ = ("image", "page_index")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    page_index: int
    def __init__(self, image: _Optional[bytes] = ..., page_index: _Optional[int] = ...) -> None: ...

class DigitizeResponse(_message.Message):
    __slots__ = ("record", "page_count")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    PAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    record: Record
    page_count: int
    def __init__(self, record: _Optional[_Union[Record, _Mapping]] = ..., page_count: _Optional[int] = ...) -> None: ...

class DigitizeStreamRequest(_message.Message):
    __slots__ = ("page_id", "image", "page_index")
    PAGE_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    PAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    page_id: str
    image: bytes
    page_index: int
    def __init__(self, page_id: _Optional[str] = ..., image: _Optional[bytes] = ..., page_index: _Optional[int] = ...) -> None: ...

class DigitizeStreamResponse(_message.Message):
    __slots__ = ("page_id", "page_count", "record", "error")
    PAGE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    page_id: str
    page_count: int
    record: Record
    error: _status_pb2.Status
    def __init__(self, page_id: _Optional[str] = ..., page_count: _Optional[int] = ..., record: _Optional[_Union[Record, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("outcome", "reasons", "sampling_rate_hz", "leads", "heart_rate_bpm", "calibration", "source_category", "models", "stage_seconds", "diagnostics", "layout")
    class StageSecondsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    LEADS_FIELD_NUMBER: _ClassVar[int]
    HEART_RATE_BPM_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_CATEGORY_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    STAGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTICS_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    sampling_rate_hz: float
    leads: _containers.RepeatedCompositeFieldContainer[Lead]
    heart_rate_bpm: float
    calibration: Calibration
    source_category: str
    models: _containers.RepeatedCompositeFieldContainer[Model]
    stage_seconds: _containers.ScalarMap[str, float]
    diagnostics: _struct_pb2.Struct
    layout: Layout
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., sampling_rate_hz: _Optional[float] = ..., leads: _Optional[_Iterable[_Union[Lead, _Mapping]]] = ..., heart_rate_bpm: _Optional[float] = ..., calibration: _Optional[_Union[Calibration, _Mapping]] = ..., source_category: _Optional[str] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., stage_seconds: _Optional[_Mapping[str, float]] = ..., diagnostics: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., layout: _Optional[_Union[Layout, _Mapping]] = ...) -> None: ...

class Reason(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Lead(_message.Message):
    __slots__ = ("name", "signal_mv", "confidence", "mean_confidence", "read_ranges")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_MV_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MEAN_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    READ_RANGES_FIELD_NUMBER: _ClassVar[int]
    name: LeadName
    signal_mv: _containers.RepeatedScalarFieldContainer[float]
    confidence: _containers.RepeatedScalarFieldContainer[float]
    mean_confidence: float
    read_ranges: _containers.RepeatedCompositeFieldContainer[SampleRange]
    def __init__(self, name: _Optional[_Union[LeadName, str]] = ..., signal_mv: _Optional[_Iterable[float]] = ..., confidence: _Optional[_Iterable[float]] = ..., mean_confidence: _Optional[float] = ..., read_ranges: _Optional[_Iterable[_Union[SampleRange, _Mapping]]] = ...) -> None: ...

class SampleRange(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("px_per_mv", "px_per_s", "speed_mm_per_s", "gain_mm_per_mv", "speed_source", "gain_source")
    PX_PER_MV_FIELD_NUMBER: _ClassVar[int]
    PX_PER_S_FIELD_NUMBER: _ClassVar[int]
    SPEED_MM_PER_S_FIELD_NUMBER: _ClassVar[int]
    GAIN_MM_PER_MV_FIELD_NUMBER: _ClassVar[int]
    SPEED_SOURCE_FIELD_NUMBER: _ClassVar[int]
    GAIN_SOURCE_FIELD_NUMBER: _ClassVar[int]
    px_per_mv: float
    px_per_s: float
    speed_mm_per_s: float
    gain_mm_per_mv: float
    speed_source: str
    gain_source: str
    def __init__(self, px_per_mv: _Optional[float] = ..., px_per_s: _Optional[float] = ..., speed_mm_per_s: _Optional[float] = ..., gain_mm_per_mv: _Optional[float] = ..., speed_source: _Optional[str] = ..., gain_source: _Optional[str] = ...) -> None: ...

class Layout(_message.Message):
    __slots__ = ("name", "cells")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CELLS_FIELD_NUMBER: _ClassVar[int]
    name: str
    cells: _containers.RepeatedCompositeFieldContainer[Cell]
    def __init__(self, name: _Optional[str] = ..., cells: _Optional[_Iterable[_Union[Cell, _Mapping]]] = ...) -> None: ...

class Cell(_message.Message):
    __slots__ = ("lead", "row", "column", "t_start", "seconds", "inverted")
    LEAD_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    T_START_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    INVERTED_FIELD_NUMBER: _ClassVar[int]
    lead: LeadName
    row: int
    column: int
    t_start: float
    seconds: float
    inverted: bool
    def __init__(self, lead: _Optional[_Union[LeadName, str]] = ..., row: _Optional[int] = ..., column: _Optional[int] = ..., t_start: _Optional[float] = ..., seconds: _Optional[float] = ..., inverted: bool = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    sha256: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...
