"""Generates the Python code of ``cardioscan.v1`` into the client package: ``python proto/generate.py``.

Needs grpcio-tools. Its version decides which protobuf and grpcio the generated code runs with: that version or a newer
one. So the committed code comes from an old release on purpose (``pip install 'grpcio-tools==1.74.0'``, protobuf 6.31).
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "cardioscan" / "v1" / "digitizer.proto"
OUTPUT = HERE.parent / "client" / "cardioscan_client" / "gateway" / "v1"
# protoc imports by the path of the .proto, which would be a module of the core here.
IMPORT = ("from cardioscan.v1 import", "from cardioscan_client.gateway.v1 import")


def generate(output: Path) -> None:
    """Write ``digitizer_pb2.py``, ``.pyi`` and ``digitizer_pb2_grpc.py`` into ``output``."""
    folders = [HERE, files("grpc_tools") / "_proto", googleapis()]
    scratch = output / "generated"
    scratch.mkdir(parents=True, exist_ok=True)
    kinds = [f"--{kind}_out={scratch}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *[f"-I{folder}" for folder in folders], *kinds, str(SOURCE)]) != 0:
        raise SystemExit("protoc failed")
    for file in (scratch / "cardioscan" / "v1").iterdir():
        (output / file.name).write_text(file.read_text(encoding="utf-8").replace(*IMPORT), encoding="utf-8")
        file.unlink()
    for folder in (scratch / "cardioscan" / "v1", scratch / "cardioscan", scratch):
        folder.rmdir()


def googleapis() -> Path:
    """The folder that holds ``google/rpc/status.proto``, of the package googleapis-common-protos."""
    import google.rpc

    return Path(next(iter(google.rpc.__path__))).parent.parent


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
