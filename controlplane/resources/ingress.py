"""The Envoy beside a replica: it ends the TLS of clients and hands their requests to the replica.

It changes nothing that either side sees. A request that the replica refuses or does not answer
comes back to the
client's Envoy as it would without an ingress, which tries again what it may, and no more.
"""

from collections.abc import Collection
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import envoy_data_plane.envoy.config.accesslog.v3 as accesslog_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.filters.http.router.v3 as router_v3
import envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 as tls_inspector_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.envoy.extensions.upstreams.http.v3 as http_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.config import Address, OtlpSettings
from controlplane.config.tls import MeshSettings
from controlplane.resources.classes import retry_cluster_of
from controlplane.resources.clusters import IDLE_UPSTREAM, gone_after, taken_within, unlimited
from controlplane.resources.listeners import COLLECTOR, LogFormat, collector, stdout_log, trace
from controlplane.resources.messages import (
    explicit_http,
    fixed_cluster,
    http_filter,
    over_ads,
    set_header,
    socket_address,
)
from controlplane.resources.resource import (
    CLUSTER,
    LISTENER,
    ROUTE,
    Changes,
    Resource,
    Revision,
    Snapshot,
)
from controlplane.resources.retries import ATTEMPTS, RETRY_HEADER, TRIES
from controlplane.resources.routes import IDLE_AFTER
from controlplane.resources.tls import RBAC_FILTER, Trust, allowed, downstream, nobody
from controlplane.resources.views import View

if TYPE_CHECKING:
    from controlplane.resources.catalog import Catalog

INGRESS: Final = "ingress"
"""The name of its listener, of its routes and of the cluster with the replica."""

HELD: Final = timedelta(seconds=60)
"""How much longer than a request may take a client's connection lasts. The Envoys of clients renew
theirs far sooner; other clients need a certificate that has not expired by then."""

_NAMES: Final[Changes] = {
    CLUSTER: frozenset((INGRESS, retry_cluster_of(INGRESS))),
    LISTENER: frozenset((INGRESS,)),
    ROUTE: frozenset((INGRESS,)),
}


class Ingress(Snapshot):
    """The resources of an ingress."""

    def __init__(self, catalog: "Catalog", view: View, replica: Address) -> None:
        """Show an Envoy of one pool its part; it hands requests on to the replica."""
        super().__init__(catalog.revision, keeps_any=catalog.released is not None)
        self._catalog = catalog
        self._view = view
        self._replica = replica
        self._pool = view.listen[0][0]

    def get(self, type_url: str, name: str) -> Resource | None:
        """Its listener, its routes or a cluster, as long as there is the pool."""
        held = self._catalog.pools.get(self._pool)
        if held is None or name not in self.names(type_url):
            return None
        settings, (_, address) = held.pool.settings, self._view.listen[0]
        domain, secrets = self._catalog.trust_domain, self._view.identity
        otlp = self._catalog.otlp
        if otlp is not None and name == COLLECTOR:
            return collector(otlp)
        if type_url == CLUSTER:
            gone = gone_after(settings.health_check)
            return _cluster(name, self._replica, gone, is_for_retries=name != INGRESS)
        if type_url == ROUTE:
            return _routes(settings.mesh, domain, settings.route.timeout)
        trust = None if secrets is None else Trust(secrets, domain)
        is_strict = settings.mesh.mode == "strict"
        timeout, log = settings.route.timeout, self._view.log
        return _listener(address, self._pool, is_strict, trust, timeout, otlp, log)

    def names(self, type_url: str) -> Collection[str]:
        """The same names for every pool."""
        held = self._catalog.pools.get(self._pool)
        if held is None:
            return ()
        if type_url == LISTENER and held.pool.settings.mesh.mode == "strict":
            # Without a certificate it can let nobody in.
            return _NAMES[LISTENER] if self._view.identity is not None else ()
        if type_url == CLUSTER and self._catalog.otlp is not None:
            return (COLLECTOR, *_NAMES[CLUSTER])
        return _NAMES.get(type_url, ())

    def changed_since(self, revision: Revision | None) -> Changes | None:
        """All resources where the pool may have other settings; None: not known."""
        changed = self._catalog.changed_since(revision)
        if changed is None:
            return None
        is_other = any(self._pool in changed.get(url, ()) for url in _NAMES)
        return _NAMES if is_other else {}

    def keeps(self, type_url: str, name: str, version: str | None) -> bool:  # noqa: ARG002
        """Whether it goes on as it is, because its pool may have been lost with the registry."""
        released = self._catalog.released
        if released is None or name == COLLECTOR:
            return False
        return type_url in _NAMES and self._pool not in released


@lru_cache(maxsize=1024)
def _cluster(name: str, replica: Address, gone: float, *, is_for_retries: bool) -> Resource:
    """The replica. A further try gets a connection of its own, as it would without an ingress.

    This Envoy may hold all that the replica does not take: the client's would not notice.
    """
    options = http_v3.HttpProtocolOptions(
        common_http_protocol_options=core_v3.HttpProtocolOptions(
            idle_timeout=IDLE_UPSTREAM, max_requests_per_connection=1 if is_for_retries else None
        ),
        explicit_http_config=explicit_http("http1"),
    )
    message = fixed_cluster(name, replica, options)
    message.upstream_bind_config = taken_within(gone)
    message.circuit_breakers = unlimited()
    return Resource.of(CLUSTER, name, bytes(message))


@lru_cache(maxsize=1024)
def _routes(mesh: MeshSettings, domain: str, timeout: float) -> Resource:
    """All requests, to the replica, from the clients that the mesh allows; changes hold at once."""
    further = route_v3.HeaderMatcher(
        name=ATTEMPTS, range_match=type_v3.Int64Range(start=2, end=TRIES + 1)
    )
    host = route_v3.VirtualHost(
        name=INGRESS,
        domains=["*"],
        routes=[
            _route(retry_cluster_of(INGRESS), [further], timeout),
            _route(INGRESS, [], timeout),
        ],
        typed_per_filter_config={RBAC_FILTER: protobuf.Any.pack(allowed(mesh, domain))},
    )
    message = route_v3.RouteConfiguration(name=INGRESS, virtual_hosts=[host])
    return Resource.of(ROUTE, INGRESS, bytes(message))


def _route(cluster: str, headers: list[route_v3.HeaderMatcher], timeout: float) -> route_v3.Route:
    return route_v3.Route(
        match=route_v3.RouteMatch(prefix="/", headers=headers),
        route=route_v3.RouteAction(
            cluster=cluster,
            # How long a request may take the client's Envoy knows; this is for one that has gone.
            timeout=timedelta(0),
            idle_timeout=timedelta(seconds=timeout) + 2 * IDLE_AFTER,
        ),
    )


@lru_cache(maxsize=1024)
def _listener(
    address: Address,
    pool: str,
    is_strict: bool,  # noqa: FBT001 - a cache key
    trust: Trust | None,
    timeout: float,
    otlp: OtlpSettings | None,
    log: LogFormat | None,
) -> Resource:
    """Build the listener: with TLS, and unless the pool is strict also without."""
    chains = []
    if trust is not None:
        lifetime = timedelta(seconds=timeout) + HELD
        chains.append(_chain("tls", _manager(lifetime, otlp, log), downstream(trust, pool)))
    if not is_strict:
        chains.append(_chain("raw_buffer", _manager(None, otlp, log)))
    message = listener_v3.Listener(
        name=INGRESS,
        address=socket_address(address),
        listener_filters=[
            listener_v3.ListenerFilter(
                name="envoy.filters.listener.tls_inspector",
                typed_config=protobuf.Any.pack(tls_inspector_v3.TlsInspector()),
            )
        ],
        filter_chains=chains,
    )
    return Resource.of(LISTENER, INGRESS, bytes(message), claims=str(address))


def _chain(
    protocol: str,
    manager: hcm_v3.HttpConnectionManager,
    socket: core_v3.TransportSocket | None = None,
) -> listener_v3.FilterChain:
    network_filter = listener_v3.Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=protobuf.Any.pack(manager),
    )
    return listener_v3.FilterChain(
        name=protocol,
        filter_chain_match=listener_v3.FilterChainMatch(transport_protocol=protocol),
        filters=[network_filter],
        transport_socket=socket,
    )


def _manager(
    lifetime: timedelta | None, otlp: OtlpSettings | None, log: LogFormat | None
) -> hcm_v3.HttpConnectionManager:
    """What is done with the requests of a connection: nothing that the replica or a client sees."""
    transformation = hcm_v3.HttpConnectionManagerServerHeaderTransformation
    manager = hcm_v3.HttpConnectionManager(
        stat_prefix=INGRESS,
        rds=hcm_v3.Rds(config_source=over_ads(), route_config_name=INGRESS),
        http_filters=[
            http_filter("rbac", nobody()),
            http_filter("router", router_v3.Router(suppress_envoy_headers=True)),
        ],
        common_http_protocol_options=core_v3.HttpProtocolOptions(max_connection_duration=lifetime),
        # The headers of the client's Envoy are for the replica, too.
        skip_xff_append=True,
        preserve_external_request_id=True,
        server_header_transformation=transformation.PASS_THROUGH,
        # But the client's identity comes from its certificate alone.
        forward_client_cert_details=hcm_v3.HttpConnectionManagerForwardClientCertDetails.SANITIZE_SET,
        set_current_client_cert_details=hcm_v3.HttpConnectionManagerSetCurrentClientCertDetails(
            uri=True
        ),
        local_reply_config=_replies(),
        access_log=[stdout_log(log)] if log is not None else [],
    )
    trace(manager, otlp)
    return manager


def _replies() -> hcm_v3.LocalReplyConfig:
    """What the client's Envoy gets where the replica has not answered.

    One that could not be reached has not seen the request: it may be tried again at any other. One
    that ended while it had the request may have ended because of it, as with 502: see `retries`.
    """
    worth = set_header(RETRY_HEADER, "1")
    return hcm_v3.LocalReplyConfig(
        mappers=[
            hcm_v3.ResponseMapper(filter=_flagged("UF"), status_code=503, headers_to_add=[worth]),
            hcm_v3.ResponseMapper(filter=_flagged("UC", "UR"), status_code=502),
        ]
    )


def _flagged(*flags: str) -> accesslog_v3.AccessLogFilter:
    return accesslog_v3.AccessLogFilter(
        response_flag_filter=accesslog_v3.ResponseFlagFilter(flags=[*flags])
    )
