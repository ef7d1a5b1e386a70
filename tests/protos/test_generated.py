"""What was generated, and whether it can live beside what others register."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.internal import api_implementation

from controlplane.protos import envoy_pb2, istio_pb2, keda_pb2

ROOT = Path(__file__).parents[2]
GENERATED = {
    "envoy": envoy_pb2.DESCRIPTOR,
    "istio": istio_pb2.DESCRIPTOR,
    "keda": keda_pb2.DESCRIPTOR,
}


@pytest.mark.parametrize("name", GENERATED)
def test_the_generated_code_is_that_of_the_proto_file(name: str, tmp_path: Path) -> None:
    out, proto = tmp_path / "set", f"controlplane/protos/{name}.proto"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={out}", proto],
        cwd=ROOT,
        check=True,
    )
    (compiled,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    generated = descriptor_pb2.FileDescriptorProto()
    GENERATED[name].CopyToProto(generated)
    compiled.ClearField("source_code_info")
    for file in (compiled, generated):
        for message in file.message_type:
            _without_json_names(message)
    assert generated == compiled


def _without_json_names(message: descriptor_pb2.DescriptorProto) -> None:
    """Only protoc writes them down."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _without_json_names(nested)


def test_names_are_registered_under_a_package_of_our_own() -> None:
    for name, generated in GENERATED.items():
        assert generated.package == f"plimsoll.{name}"
        assert generated.name.startswith("controlplane/")


def test_the_fast_runtime_is_used() -> None:
    assert api_implementation.Type() == "upb"
