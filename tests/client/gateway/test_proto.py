"""The generated code is that of the published proto, and the proto keeps to its style."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from cardioscan.page.leads import LEADS
from cardioscan_client.gateway.options import SERVICE
from cardioscan_client.gateway.v1 import digitizer_pb2 as pb
from cardioscan_client.gateway.v1 import digitizer_pb2_grpc

ROOT = Path(__file__).resolve().parents[3]
PROTO = ROOT / "proto" / "cardioscan" / "v1" / "digitizer.proto"


def committed() -> descriptor_pb2.FileDescriptorProto:
    found = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(found)
    return found


def without_json_names(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """They follow from the names, and only protoc writes them down."""
    for message in [inner for outer in file.message_type for inner in (outer, *outer.nested_type)]:
        for field in message.field:
            field.ClearField("json_name")
    return file


def test_the_generated_code_is_that_of_the_proto(tmp_path: Path) -> None:
    """Compared as descriptors: the text differs between releases of protoc."""
    protoc = pytest.importorskip("grpc_tools.protoc", reason="the package grpcio-tools (extra 'test') is not installed")
    import google.rpc
    import grpc_tools

    folders = [ROOT / "proto", Path(grpc_tools.__file__).parent / "_proto", Path(google.rpc.__path__[0]).parents[1]]
    written = tmp_path / "set.bin"
    places = [f"-I{folder}" for folder in folders]
    assert protoc.main(["protoc", *places, f"--descriptor_set_out={written}", str(PROTO)]) == 0
    (wanted,) = descriptor_pb2.FileDescriptorSet.FromString(written.read_bytes()).file
    found = committed()
    assert without_json_names(found) == without_json_names(wanted), "run: python proto/generate.py"


def test_the_stubs_have_every_call() -> None:
    (service,) = committed().service
    assert f"{pb.DESCRIPTOR.package}.{service.name}" == SERVICE
    for method in service.method:
        assert hasattr(digitizer_pb2_grpc.DigitizerServiceServicer, method.name)
        assert method.input_type.endswith(f".{method.name}Request")
        assert method.output_type.endswith(f".{method.name}Response")
    streaming = {method.name: (method.client_streaming, method.server_streaming) for method in service.method}
    assert streaming == {"Digitize": (False, False), "DigitizeStream": (True, True)}


def test_enums_begin_with_unspecified_and_carry_their_name() -> None:
    for enum in committed().enum_type:
        prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"
        assert all(value.name.startswith(prefix) for value in enum.value)
        assert (enum.value[0].name, enum.value[0].number) == (f"{prefix}UNSPECIFIED", 0)


def test_the_leads_are_those_of_the_page() -> None:
    names = [value.name.removeprefix("LEAD_NAME_") for value in pb.LeadName.DESCRIPTOR.values]
    assert names == ["UNSPECIFIED", *(lead.upper() for lead in LEADS)]


def test_signals_are_packed() -> None:
    lead = pb.Lead(signal_mv=[1.0] * 5000)
    assert lead.ByteSize() < 5000 * 4 + 16
