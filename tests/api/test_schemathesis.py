"""schemathesis reads the OpenAPI document and tries whatever it allows, and what it does not."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from controlplane.config import Role, Token
from tests.api.served import JSON, served

TOKEN = "a-token-for-schemathesis"  # noqa: S105 - of a server that only this test knows

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    # What JSON Schema allows may be wrong all the same: it cannot say that two keys go together.
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
)


@pytest.mark.timeout(600)  # It takes half a minute on a machine with nothing else to do.
async def test_the_server_does_what_its_document_says(tmp_path: Path) -> None:
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert command is not None
    async with served(tokens=(Token.of(TOKEN, Role.OPERATE, "schemathesis"),)) as api:
        process = await asyncio.create_subprocess_exec(
            command,
            "run",
            f"http://{api.address}/openapi.json",
            f"--header=Authorization: Bearer {TOKEN}",
            f"--checks={','.join(CHECKS)}",
            "--phases=examples,coverage,fuzzing,stateful",
            "--max-examples=3",
            "--seed=1",
            "--workers=1",
            "--exclude-path=/v1/events",  # It has no end.
            "--request-timeout=60",
            "--max-failures=10",
            "--no-color",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(570):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, output.decode()[-10_000:]
        # It came as far as to change things.
        headers = JSON | {"Authorization": f"Bearer {TOKEN}"}
        audit = (await api.ask("GET", "/v1/audit", headers=headers)).body["entries"]
        assert {("added", True), ("added", False), ("removed", False)} <= {
            (entry["change"], entry["replica"] is not None) for entry in audit
        }
