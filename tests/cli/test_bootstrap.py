"""``plimsoll bootstrap``: what it prints, and what it says when it is asked for nonsense."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from controlplane.cli.group import plimsoll
from controlplane.config import PoolEntry, SettingsError, validated
from tests.api.served import served
from tests.cli.answering import run

ENVOY = Path(sys.executable).parent / "envoy"


@pytest.fixture(autouse=True)
def nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLIMSOLL_URL", "http://127.0.0.1:1")


def test_it_prints_yaml_that_names_the_node_and_the_control_plane() -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", "--xds", "10.0.0.1:18000"])
    data = yaml.safe_load(result.output)
    assert data["node"]["id"] == "a"
    endpoint = data["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]
    address = endpoint["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "10.0.0.1", "port_value": 18000}


def test_json_says_the_same_as_yaml() -> None:
    arguments = ["bootstrap", "--node", "a", "--pool", "p", "--listen", "p=127.0.0.1:10001"]
    as_yaml = CliRunner().invoke(plimsoll, arguments).output
    as_json = CliRunner().invoke(plimsoll, [*arguments, "--json"]).output
    assert json.loads(as_json) == yaml.safe_load(as_yaml)


def test_pools_and_moved_listeners_travel_as_node_metadata() -> None:
    arguments = ["--pool", "p", "--pool", "q", "--listen", "p=127.0.0.1:10001"]
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *arguments])
    assert yaml.safe_load(result.output)["node"]["metadata"] == {
        "plimsoll": {
            "access_log": "_plimsoll",
            "pools": ["p", "q"],
            "listen": {"p": "127.0.0.1:10001"},
        }
    }


def test_a_log_of_requests_and_trusted_proxies_travel_as_node_metadata() -> None:
    arguments = ["--access-log", "json", "--trusted-proxies", "2"]
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *arguments])
    metadata = yaml.safe_load(result.output)["node"]["metadata"]["plimsoll"]
    assert (metadata["log"], metadata["trusted_proxies"]) == ("json", 2)


def test_certificates_of_a_gateway_travel_as_node_metadata() -> None:
    files = ["--gateway-tls", "/a.crt,/a.key", "--gateway-tls", "/b.crt,/b.key"]
    arguments = ["--gateway", "0.0.0.0:443", *files, "--gateway-client-ca", "/ca.crt"]
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *arguments])
    assert yaml.safe_load(result.output)["node"]["metadata"]["plimsoll"]["tls"] == {
        "certificates": [
            {"certificate": "/a.crt", "key": "/a.key"},
            {"certificate": "/b.crt", "key": "/b.key"},
        ],
        "client_ca": "/ca.crt",
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--gateway-tls", "/a.crt,/a.key"], "--gateway-tls and --gateway-client-ca go with"),
        (["--gateway", "0.0.0.0:443", "--gateway-client-ca", "/ca.crt"], "goes with --gateway-tls"),
        (["--gateway", "0.0.0.0:443", "--gateway-tls", "/a.pem"], "--gateway-tls: '/a.pem' is not"),
        (["--gateway", "0.0.0.0:443", "--gateway-tls", "a.crt,/a.key"], "must be an absolute path"),
        (
            ["--gateway", "0.0.0.0:443", "--gateway-tls", "/a,/b", "--gateway-client-ca", "c"],
            "--gateway-client-ca: 'c' must be an absolute path",
        ),
    ],
)
def test_files_that_a_gateway_cannot_read_are_bad_usage(
    arguments: list[str], sentence: str
) -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *arguments])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert sentence in result.output


@pytest.mark.parametrize(("arguments", "most"), [([], 50_000), (["--max-connections", "7"], 7)])
def test_an_envoy_takes_so_many_connections_at_a_time(arguments: list[str], most: int) -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *arguments])
    data = yaml.safe_load(result.output)
    (monitor,) = [
        item["typed_config"]
        for item in data["overload_manager"]["resource_monitors"]
        if item["name"] == "envoy.resource_monitors.global_downstream_max_connections"
    ]
    assert monitor["max_active_downstream_connections"] == most
    assert data["admin"]["ignore_global_conn_limit"]


def test_a_locality_is_region_and_zone() -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", "--locality", "eu/a"])
    assert yaml.safe_load(result.output)["node"]["locality"] == {"region": "eu", "zone": "a"}


@pytest.mark.parametrize(
    ("arguments", "api_type"),
    [
        ([], "DELTA_GRPC"),
        (["--protocol", "delta"], "DELTA_GRPC"),
        (["--protocol", "state-of-the-world"], "GRPC"),
    ],
)
def test_envoy_speaks_delta_unless_told_otherwise(arguments: list[str], api_type: str) -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *arguments])
    ads = yaml.safe_load(result.output)["dynamic_resources"]["ads_config"]
    assert ads["api_type"] == api_type


def test_no_pool_can_take_the_place_of_the_control_plane() -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a"])
    (cluster,) = yaml.safe_load(result.output)["static_resources"]["clusters"]
    pool = {"name": cluster["name"], "model": "m", "listener": {"address": "127.0.0.1:1"}}
    with pytest.raises(SettingsError, match="name"):
        validated(PoolEntry, pool)


def test_a_control_plane_with_a_name_is_looked_up() -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", "--xds", "plimsoll:18000"])
    assert yaml.safe_load(result.output)["static_resources"]["clusters"][0]["type"] == "STRICT_DNS"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--node", ""], "--node: give 1 to 256 printable characters"),
        (["--node", "a\nb"], "--node: give 1 to 256 printable characters"),
        (["--xds", "nowhere"], "--xds: 'nowhere' is not \"host:port\""),
        (["--xds", "127.0.0.1:0"], "--xds: port 0"),
        (["--listen", "p"], "--listen: 'p' is not POOL=HOST:PORT"),
        (["--listen", "p=localhost:1"], "--listen: 'localhost' is a name"),
        (["--listen", "p=1.2.3.4:99999"], "--listen: '1.2.3.4:99999'"),
        (["--locality", "e u/a"], "--locality: region: 'e u' must match"),
        (["--max-heap", "2GB"], "--max-heap: '2GB' is not a size"),
        (["--max-heap", "64MiB"], "--max-heap: 64MiB is less than Envoy runs in"),
        (["--ingress", "p=127.0.0.1:1"], "--ingress: 'p=127.0.0.1:1' is not POOL=HOST:PORT,HOST"),
        (["--ingress", "p=127.0.0.1:1,x:1"], "--ingress: 'x' is a name"),
        (["--ingress", "p=1.1.1.1:1,1.1.1.1:1"], "--ingress: 1.1.1.1:1 is both where"),
        (["--ingress", "p=1.1.1.1:1,1.1.1.1:2", "--pool", "p"], "--ingress excludes"),
        (["--stats", "here"], "--stats: 'here' is not \"host:port\""),
        (["--stats", "localhost:1"], "--stats: 'localhost' is a name"),
        (["--stats", "0.0.0.0:1", "--admin-port", "0"], "--stats needs an --admin-port"),
        (["--identity", "ads"], "--identity ads goes with --tls-certificate"),
        (["--identity-key", "a"], "--identity-certificate, --identity-key and --identity-ca go"),
    ],
)
def test_nonsense_is_one_sentence_and_exit_code_2(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *arguments])
    assert result.exit_code == 2
    assert result.output.startswith(f"plimsoll: {sentence}")
    assert result.output.count("\n") == 1


def test_a_bootstrap_without_a_node_is_refused() -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap"])
    assert result.exit_code == 2
    assert "--node" in result.output


HOSTILE = ["y", "N", "no", "On", "true", "null", "~", "1", "1e3", "0x1F", "1_000", "1:30", "-", "="]
"""Names that one reader of YAML or another takes for something else than a text."""


def test_names_that_yaml_takes_for_something_else_are_quoted() -> None:
    arguments = [part for name in HOSTILE for part in ("--pool", name)]
    for node in ("n", "off", "0.5"):
        text = CliRunner().invoke(plimsoll, ["bootstrap", "--node", node, *arguments]).output
        assert f'  id: "{node}"\n' in text
        for name in HOSTILE:
            assert f'      - "{name}"\n' in text


def test_envoy_reads_such_names_as_texts(tmp_path: Path) -> None:
    arguments = ["--node", "n", "--locality", "on/0x10", "--listen", "y=127.0.0.1:10000"]
    arguments += [part for name in ("y", "1e3", "no") for part in ("--pool", name)]
    file = tmp_path / "envoy.yaml"
    file.write_text(CliRunner().invoke(plimsoll, ["bootstrap", *arguments]).output)
    argv = [str(ENVOY), "--mode", "validate", "-c", str(file)]
    ran = subprocess.run(argv, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_envoy_takes_a_bootstrap_with_a_spire_agent(tmp_path: Path) -> None:
    arguments = ["--node", "n", "--spire", "/run/agent.sock", "--tls-name", "spiffe://d/cp"]
    file = tmp_path / "envoy.yaml"
    file.write_text(CliRunner().invoke(plimsoll, ["bootstrap", *arguments]).output)
    data = yaml.safe_load(file.read_text())
    assert data["node"]["metadata"]["plimsoll"]["identity"] == {"source": "spire"}
    assert [cluster["name"] for cluster in data["static_resources"]["clusters"]] == [
        "_plimsoll",
        "spire_agent",
    ]
    argv = [str(ENVOY), "--mode", "validate", "-c", str(file)]
    ran = subprocess.run(argv, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_files_for_the_control_plane_go_with_an_agent_for_the_others(tmp_path: Path) -> None:
    files = [f"--tls-{item}={tmp_path / item}" for item in ("certificate", "key", "ca")]
    arguments = ["bootstrap", "--node", "n", "--spire", "/a", *files, "--json"]
    data = json.loads(CliRunner().invoke(plimsoll, arguments).stdout)
    (control_plane, agent) = data["static_resources"]["clusters"]
    assert agent["name"] == "spire_agent"
    assert "spire_agent" not in json.dumps(control_plane)
    assert str(tmp_path / "identity.json") in json.dumps(control_plane)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--spire", "agent.sock"], "--spire: 'agent.sock' is not the absolute path of a socket"),
        (["--spire", "/a", "--identity", "ads"], "--spire and --identity exclude each other"),
    ],
)
def test_a_spire_agent_is_the_only_source(arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "n", *arguments])
    assert result.exit_code == 2
    assert problem in result.output


async def test_a_pool_that_the_control_plane_does_not_have_is_said() -> None:
    async with served() as api:
        await api.filled()
        await api.ask(
            "PUT",
            "/v1/pools/minilm",
            json={"model": "m", "listener": {"address": "127.0.0.1:10001"}},
        )
        misspelt = await run(api, "bootstrap", "--node", "a", "--pool", "minlm", "--pool", "m")
        unlike = await run(api, "bootstrap", "--node", "a", "--listen", "xyz=127.0.0.1:1")
        right = await run(api, "bootstrap", "--node", "a", "--pool", "minilm")
        url = f"http://{api.address}"
    assert misspelt.exit_code == 0
    assert yaml.safe_load(misspelt.stdout)["node"]["metadata"]["plimsoll"]["pools"] == [
        "m",
        "minlm",
    ]
    assert misspelt.stderr == (
        f"plimsoll: warning: the control plane at {url} has no pool 'minlm'; did you mean"
        " 'minilm'?\n"
    )
    assert unlike.stderr.endswith("has no pool 'xyz'; it has m, minilm\n")
    assert right.stderr == ""


def test_a_listener_of_a_pool_that_the_envoy_does_not_want_is_said() -> None:
    arguments = ["--pool", "minilm", "--listen", "minlm=127.0.0.1:1"]
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *arguments])
    assert result.stderr.startswith("plimsoll: warning: --listen moves pool 'minlm', which no")


def test_an_ingress_travels_as_node_metadata_and_reports_nothing() -> None:
    arguments = ["--ingress", "p=10.0.0.1:443,127.0.0.1:9001"]
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *arguments])
    data = yaml.safe_load(result.output)
    assert data["node"]["metadata"]["plimsoll"] == {
        "pools": ["p"],
        "role": "ingress",
        "listen": {"p": "10.0.0.1:443"},
        "replica": "127.0.0.1:9001",
    }
    assert not data.keys() & {"cluster_manager", "hds_config"}


def test_certificates_for_other_envoys_are_named_by_files_that_it_writes(tmp_path: Path) -> None:
    files = [f"--identity-{item}={tmp_path / item}.pem" for item in ("certificate", "key", "ca")]
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *files, "--json"])
    assert result.exit_code == 0, result.output
    metadata = json.loads(result.stdout)["node"]["metadata"]["plimsoll"]
    assert metadata["identity"] == {
        "source": "files",
        "certificate": str(tmp_path / "identity.json"),
        "roots": str(tmp_path / "roots.json"),
    }
    (secret,) = json.loads((tmp_path / "identity.json").read_text())["resources"]
    chain = secret["tls_certificate"]["certificate_chain"]
    assert chain == {"filename": str(tmp_path / "certificate.pem")}


def test_files_that_name_other_certificates_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "roots.json").write_text("{}")
    files = [f"--identity-{item}={tmp_path / item}.pem" for item in ("certificate", "key", "ca")]
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--node", "a", *files])
    assert result.exit_code == 1
    assert "names other files" in result.output
    assert (tmp_path / "roots.json").read_text() == "{}"


TLS = ("--tls-certificate", "node.pem", "--tls-key", "key.pem", "--tls-ca", "ca.pem")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(plimsoll, ["bootstrap", *arguments])


def control_plane_tls(result: Result) -> dict[str, Any]:
    (cluster,) = json.loads(result.stdout)["static_resources"]["clusters"]
    found: dict[str, Any] = cluster["transport_socket"]["typed_config"]
    return found


def test_certificates_are_read_through_secrets_in_files_that_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tls = control_plane_tls(invoke("--node", "n", *TLS, "--json"))
    common = tls["common_tls_context"]
    (identity,) = common["tls_certificate_sds_secret_configs"]
    roots = common["combined_validation_context"]["validation_context_sds_secret_config"]
    paths = [item["sds_config"]["path_config_source"]["path"] for item in (identity, roots)]
    assert paths == [str(tmp_path / f"{name}.json") for name in ("identity", "roots")]
    (secret,) = json.loads(Path(paths[0]).read_text())["resources"]
    assert secret["tls_certificate"] == {
        "certificate_chain": {"filename": str(tmp_path / "node.pem")},
        "private_key": {"filename": str(tmp_path / "key.pem")},
        "watched_directory": {"path": str(tmp_path)},
    }


@pytest.mark.parametrize(
    ("options", "kind", "name"),
    [
        (("--xds", "10.0.0.5:1"), "IP_ADDRESS", "10.0.0.5"),
        (("--xds", "[fd00::5]:1"), "IP_ADDRESS", "fd00::5"),
        (("--xds", "plimsoll.example:1"), "DNS", "plimsoll.example"),
        (("--xds", "10.0.0.5:1", "--tls-name", "plimsoll.example"), "DNS", "plimsoll.example"),
        (("--tls-name", "spiffe://plimsoll.local/x"), "URI", "spiffe://plimsoll.local/x"),
    ],
)
def test_the_control_plane_must_have_the_name_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], kind: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tls = control_plane_tls(invoke("--node", "n", *TLS, *options, "--json"))
    context = tls["common_tls_context"]["combined_validation_context"]["default_validation_context"]
    assert context["match_typed_subject_alt_names"] == [
        {"san_type": kind, "matcher": {"exact": name}}
    ]
    assert tls.get("sni") == (name if kind == "DNS" else None)


def test_a_grpc_client_shows_a_certificate_from_files_and_no_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (server,) = json.loads(invoke("--grpc", "--node", "n", *TLS).stdout)["xds_servers"]
    files = {"certificate": "node.pem", "private_key": "key.pem", "ca_certificate": "ca.pem"}
    config = {f"{item}_file": str(tmp_path / name) for item, name in files.items()}
    assert server["channel_creds"] == [{"type": "tls", "config": config}]
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("left_out", [0, 2, 4])
def test_a_certificate_its_key_and_the_roots_go_together(left_out: int) -> None:
    result = invoke("--node", "n", *TLS[:left_out], *TLS[left_out + 2 :])
    assert result.exit_code == 2
    assert "--tls-certificate, --tls-key and --tls-ca go together" in result.stderr


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = invoke("--node", "n", *TLS, "--tls-secrets", str(tmp_path / "none"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "identity.json cannot be written: No such file or directory" in result.stderr


def test_a_grpc_client_gets_json_of_its_own() -> None:
    arguments = ["bootstrap", "--grpc", "--node", "app", "--xds", "10.0.0.1:18000"]
    result = CliRunner().invoke(
        plimsoll, [*arguments, "--pool", "p", "--locality", "eu/a", "--url", "http://127.0.0.1:1"]
    )
    assert json.loads(result.output) == {
        "xds_servers": [
            {
                "server_uri": "10.0.0.1:18000",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {
            "id": "app",
            "cluster": "plimsoll",
            "locality": {"region": "eu", "zone": "a"},
            "metadata": {"plimsoll": {"pools": ["p"]}},
        },
    }


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--listen", "p=127.0.0.1:1"], "--listen"),
        (["--gateway", "127.0.0.1:1"], "--gateway"),
        (["--admin-port", "9901"], "--admin-port"),
        (["--access-log", "json"], "--access-log"),
        (["--protocol", "delta"], "--protocol"),
        (["--ingress", "p=127.0.0.1:1,127.0.0.1:2"], "--ingress"),
        (["--identity", "ads"], "--identity"),
        (["--tls-name", "plimsoll.example"], "--tls-name"),
    ],
)
def test_what_is_for_an_envoy_is_refused_for_a_grpc_client(
    arguments: list[str], option: str
) -> None:
    result = CliRunner().invoke(plimsoll, ["bootstrap", "--grpc", "--node", "a", *arguments])
    assert result.exit_code == 2
    assert f"{option} is for an Envoy: leave it out with --grpc" in result.output
