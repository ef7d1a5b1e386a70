"""What an Envoy says of itself in its node metadata, and what cannot be understood of it."""

import gc
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.balancing import Place
from controlplane.config import Address, validated
from controlplane.config.tls import GatewayTls
from controlplane.resources import catalog, views
from controlplane.resources.bootstrap import XDS_CLUSTER, bootstrap
from controlplane.resources.secret_sources import ADS, SPIRE, SecretSource
from controlplane.resources.views import MAX_NAME, MAX_POOLS, METADATA_KEY, View


def view(**wanted: object) -> View:
    return View.of({"plimsoll": wanted})


def refusal(wanted: object) -> str:
    with pytest.raises(ValueError, match=r"^node metadata ") as refused:
        View.of({"plimsoll": wanted})
    assert type(refused.value) is ValueError
    return str(refused.value)


def test_who_says_nothing_sees_everything() -> None:
    assert View.of({}) == View() == view()


def test_the_metadata_of_others_is_not_read() -> None:
    assert View.of({"istio": {"pools": 3}}) == View()


def test_pools_are_the_same_in_any_order_and_however_often() -> None:
    assert view(pools=["b", "a", "b"]) == view(pools=["a", "b"]) == View(("a", "b"))


def test_a_list_of_no_pools_is_not_everything() -> None:
    assert view(pools=[]) == View(())


def test_listeners_are_the_same_in_any_order() -> None:
    one = view(listen={"a": "127.0.0.1:1", "b": "127.0.0.1:2"})
    assert one == view(listen={"b": "127.0.0.1:2", "a": "127.0.0.1:1"})


def test_a_listener_is_an_address() -> None:
    assert view(listen={"a": "[::1]:1"}).listen == (("a", Address("::1", 1)),)


@pytest.mark.parametrize("wanted", [None, [], "a", 1, True])
def test_metadata_that_is_no_mapping_is_refused(wanted: object) -> None:
    assert refusal(wanted) == "node metadata 'plimsoll' must be a mapping"


@pytest.mark.parametrize("pools", ["a", {"a": 1}, [1], [None], [["a"]], 1.0, True])
def test_pools_that_are_no_list_of_names_are_refused(pools: object) -> None:
    assert refusal({"pools": pools}).startswith("node metadata plimsoll.pools")


@pytest.mark.parametrize("listen", [None, "a", ["a"], 1.0, True])
def test_listeners_that_are_no_mapping_are_refused(listen: object) -> None:
    assert refusal({"listen": listen}).startswith(
        "node metadata plimsoll.listen: must be a mapping of keys to values, not "
    )


@pytest.mark.parametrize(
    "address",
    [None, 1, True, [], {}, "", "10000", "localhost:80", "127.0.0.1:0", "a\n:1", "\ud800"],
)
def test_a_listener_that_envoy_would_refuse_is_refused_by_its_pools_name(address: object) -> None:
    sentence = refusal({"listen": {"minilm": address}})
    assert sentence.startswith("node metadata plimsoll.listen.minilm: ")
    assert sentence.isprintable()


PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    PLAIN
    | st.dictionaries(
        st.sampled_from(["pools", "listen", "access_log", "log", "trusted_proxies", "x"]), PLAIN
    )
)
def test_whatever_the_metadata_it_is_a_view_or_refused(wanted: object) -> None:
    try:
        found = View.of({"plimsoll": wanted})
    except ValueError as error:
        assert type(error) is ValueError  # noqa: PT017 - any other would be a crash
    else:
        assert hash(found) == hash(View.of({"plimsoll": wanted}))


def test_a_bootstrap_says_what_its_view_reads() -> None:
    made = bootstrap(
        "n",
        Address("127.0.0.1", 18000),
        pools=["b", "a"],
        listen={"a": Address("::1", 1), "b": Address("0.0.0.0", 2)},
    )
    assert View.of(made["node"]["metadata"]) == View(
        ("a", "b"),
        (("a", Address("::1", 1)), ("b", Address("0.0.0.0", 2))),
        access_log=XDS_CLUSTER,
    )


def test_where_an_envoy_runs_is_part_of_its_view() -> None:
    assert View.of({}, Place("eu", "a")) == View(place=Place("eu", "a"))


def test_a_gateway_says_where_it_listens() -> None:
    address = Address("0.0.0.0", 8000)
    assert view(role="gateway", listen={"*": "0.0.0.0:8000"}) == View(gateway=address)
    made = bootstrap("n", Address("127.0.0.1", 1), gateway=address)
    assert View.of(made["node"]["metadata"]) == View(gateway=address, access_log=XDS_CLUSTER)


def test_an_envoy_that_names_no_cluster_tells_of_no_requests() -> None:
    assert view().access_log is None
    assert view(access_log="ours") == View(access_log="ours")
    assert view(access_log="ours") != view() != view(access_log="others")


@pytest.mark.parametrize("cluster", [1, True, [], {}, "", "a\n", "\ud800", "c" * (MAX_NAME + 1)])
def test_a_cluster_to_tell_of_requests_that_cannot_be_one_is_refused(cluster: object) -> None:
    assert refusal({"access_log": cluster}).startswith("node metadata plimsoll.access_log: ")


def test_an_envoy_writes_a_log_and_trusts_proxies_only_where_it_says_so() -> None:
    assert (view().log, view().trusted_proxies) == (None, 0)
    assert view(log="json", trusted_proxies=2.0) == View(log="json", trusted_proxies=2)
    made = bootstrap("n", Address("127.0.0.1", 1), log="text", trusted_proxies=1)
    assert View.of(made["node"]["metadata"]) == View(
        access_log=XDS_CLUSTER, log="text", trusted_proxies=1
    )


@pytest.mark.parametrize("form", ["", "JSON", "xml", 1.0, True, ["json"], {}])
def test_a_log_of_another_form_is_refused(form: object) -> None:
    assert refusal({"log": form}).endswith(" is not one of 'json' or 'text'")


@pytest.mark.parametrize("count", [None, True, "1", -1.0, 1.5, 17.0, math.nan, math.inf, [1.0]])
def test_a_number_of_proxies_that_cannot_be_is_refused(count: object) -> None:
    assert refusal({"trusted_proxies": count}).startswith(
        "node metadata plimsoll.trusted_proxies: "
    )


def test_a_sidecar_may_say_that_it_is_one() -> None:
    assert view(role="sidecar") == View()


@pytest.mark.parametrize("role", ["Gateway", "", None, 1, ["gateway"]])
def test_a_role_that_is_not_known_is_refused(role: object) -> None:
    assert refusal({"role": role}).endswith(" is not one of 'sidecar', 'gateway' or 'ingress'")


@pytest.mark.parametrize(
    "wanted",
    [
        {"role": "gateway"},
        {"role": "gateway", "listen": {"p": "127.0.0.1:1"}},
        {"role": "gateway", "listen": {"*": "127.0.0.1:1", "p": "127.0.0.1:2"}},
        {"listen": {"*": "127.0.0.1:1"}},
    ],
)
def test_only_a_gateway_has_a_listener_for_all_pools_and_no_other(wanted: object) -> None:
    assert "a gateway, and nobody else" in refusal(wanted)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            {"pools": [f"p{n}" for n in range(MAX_POOLS + 1)]},
            "pools: must have at most 1000 entries",
        ),
        ({"pools": ["p" * (MAX_NAME + 1)]}, r"pools\[0\]: .*at most 256 characters"),
        (
            {"listen": {f"p{n}": "127.0.0.1:1" for n in range(MAX_POOLS + 1)}},
            "listen: must have at most 1000 entries",
        ),
        ({"listen": {"p" * (MAX_NAME + 1): "127.0.0.1:1"}}, "listen.*at most 256 characters"),
    ],
    ids=["pools", "a pool's name", "listeners", "a listener's name"],
)
def test_an_envoy_that_names_too_much_is_refused(said: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        View.of({METADATA_KEY: said})


def test_as_much_as_an_envoy_may_name_is_understood() -> None:
    names = [f"{n:0{MAX_NAME}}" for n in range(MAX_POOLS)]
    assert View.of({METADATA_KEY: {"pools": names}}).pools == tuple(sorted(names))


def test_of_views_whose_clients_have_left_nothing_is_kept() -> None:
    gc.collect()
    before = len(views._KNOWN)
    kept = [View.of({"plimsoll": {"pools": [f"gone-{n}"]}}) for n in range(100)]
    assert len(views._KNOWN) == before + 100
    assert View.of({"plimsoll": {"pools": ["gone-7"]}}) is kept[7]
    kept.clear()
    gc.collect()
    assert len(views._KNOWN) == before


def test_a_catalog_keeps_what_few_views_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MAX_VIEWS", 10)
    made = catalog.Catalog()
    for number in range(100):
        made.view(View(pools=(f"p{number}",)))
    assert len(made._views) <= 10


INGRESS = {
    "role": "ingress",
    "pools": ["p"],
    "listen": {"p": "10.0.0.1:443"},
    "replica": "127.0.0.1:9001",
}


def test_an_ingress_says_where_it_listens_and_where_its_replica_is() -> None:
    found = View.of({"plimsoll": INGRESS})
    assert found.listen == (("p", Address("10.0.0.1", 443)),)
    assert found.replica == Address("127.0.0.1", 9001)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pools": None},
        {"pools": ["p", "q"]},
        {"listen": {}},
        {"listen": {"q": "10.0.0.1:443"}},
        {"listen": {"p": "10.0.0.1:443", "q": "10.0.0.1:444"}},
        {"replica": None},
        {"replica": "localhost:1"},
        {"replica": "10.0.0.1:443"},
        {"role": "sidecar"},
    ],
)
def test_an_ingress_that_says_something_else_is_refused(wrong: dict[str, object]) -> None:
    assert refusal({**INGRESS, **wrong}).startswith("node metadata plimsoll.")


@pytest.mark.parametrize(
    "source",
    [ADS, SPIRE, SecretSource("/a/identity.json", "/b/roots.json"), SecretSource.in_folder("/a")],
)
def test_where_secrets_come_from_is_read_as_it_is_written(source: SecretSource) -> None:
    assert View.of({"plimsoll": {"identity": source.to_metadata()}}).identity == source


@pytest.mark.parametrize(
    "identity",
    [
        "files",
        {},
        [],
        1.0,
        {"source": "disk"},
        {"source": "files"},
        {"source": "files", "certificate": "/a", "roots": "b"},
        {"source": "files", "certificate": "/a\n", "roots": "/b"},
        {"source": "files", "certificate": "/" + "a" * 5000, "roots": "/b"},
    ],
)
def test_secrets_from_nowhere_are_refused(identity: object) -> None:
    assert refusal({"identity": identity}).startswith("node metadata plimsoll.identity.")


TLS = {"certificates": [{"certificate": "/a.crt", "key": "/a.key"}], "client_ca": "/ca.crt"}


def test_a_gateway_says_how_it_terminates_tls() -> None:
    address = Address("0.0.0.0", 8000)
    tls = validated(GatewayTls, TLS)
    seen = view(role="gateway", listen={"*": "0.0.0.0:8000"}, tls=TLS)
    assert seen == View(gateway=address, tls=tls)
    made = bootstrap("n", Address("127.0.0.1", 1), gateway=address, gateway_tls=tls)
    assert View.of(made["node"]["metadata"]).tls == tls


@pytest.mark.parametrize(
    ("tls", "sentence"),
    [
        ([], "node metadata plimsoll.tls: must be a mapping"),
        ({}, "node metadata plimsoll.tls.certificates: "),
        ({"certificates": []}, "node metadata plimsoll.tls.certificates: "),
        (
            {"certificates": [{"certificate": "a.crt", "key": "/a.key"}]},
            "node metadata plimsoll.tls.certificates[0].certificate: 'a.crt' must be an absolute",
        ),
    ],
)
def test_files_that_a_gateway_cannot_read_are_refused(tls: object, sentence: str) -> None:
    said = {"role": "gateway", "listen": {"*": "0.0.0.0:8000"}, "tls": tls}
    assert refusal(said).startswith(sentence)


def test_a_sidecar_terminates_tls_as_its_pools_say() -> None:
    assert "is for gateways" in refusal({"tls": TLS})


def test_a_grpc_client_sees_pools_and_listens_nowhere() -> None:
    found = View.of({"plimsoll": {"pools": ["p"]}}, Place("eu", "a"), is_grpc=True)
    assert found == View(("p",), place=Place("eu", "a"), is_grpc=True) != View(("p",))
    for wanted in (
        {"listen": {"p": "127.0.0.1:1"}},
        {"role": "gateway", "listen": {"*": "127.0.0.1:1"}},
    ):
        with pytest.raises(ValueError, match="a gRPC client listens nowhere"):
            View.of({"plimsoll": wanted}, is_grpc=True)
    with pytest.raises(ValueError, match=r"plimsoll\.identity is for Envoys"):
        View.of({"plimsoll": {"identity": {"source": "ads"}}}, is_grpc=True)
