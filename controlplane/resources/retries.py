"""What is tried again, and where: no request ends more than two replicas.

Further tries go to a cluster of their own, which has the same replicas and opens a connection for
each request. A replica that closes the connections that it has, as servers do with idle ones,
answers there. So a second replica is enough, and a request that ends every replica that it reaches
ends two.
"""

from datetime import timedelta
from functools import lru_cache
from typing import Final

import envoy_data_plane.envoy.config.common.mutation_rules.v3 as mutation_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 as header_mutation_v3
import envoy_data_plane.envoy.extensions.filters.http.lua.v3 as lua_v3
import envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 as upstream_codec_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 as previous_hosts_v3
import envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 as priorities_v3
import envoy_data_plane.envoy.extensions.router.cluster_specifiers.matcher.v3 as specifier_v3
import envoy_data_plane.envoy.type.matcher.v3 as envoy_matcher_v3
import envoy_data_plane.google.protobuf as protobuf
import envoy_data_plane.xds.core.v3 as xds_core_v3
import envoy_data_plane.xds.type.matcher.v3 as matcher_v3

from controlplane.resources.classes import retry_cluster_of
from controlplane.resources.messages import extension, http_filter, set_header

RETRY_HEADER: Final = "x-plimsoll-retry"
"""Header of an answer that is worth another try; clients do not see it."""

TRIED: Final = "x-plimsoll-tried"
"""Header of a failure that an Envoy has tried again often enough: a sidecar hands it on."""

TRIES: Final = 10
"""Tries of one request at most. All but two of them are for replicas that cannot be reached."""

HEDGED_TRIES: Final = 4
"""Tries of one request at most where a pool is hedged: each may be computed. All of them go to the
pool's own cluster, as Envoy does not choose another one for a request that it hedges."""

CREDIT: Final = 10
"""Number by which failed answers may exceed good ones, in each thread of an Envoy, until failed
requests are no longer tried again: a pool that answers nothing but 503 gets half as many further
tries, once. Where further tries succeed, at least every second answer does, and all that fail are
tried again. A replica that fails again and again costs nothing while as many others answer well: it
is the fastest, and what it refuses in the time of one good answer would use up all credit.

So many requests may also be left without an answer by two replicas, one after the other with no
good answer between them, until a request that one has left so is not sent to a second one."""

BUFFERED: Final = "kept"
"""In the metadata of a route: bytes of an answer that an Envoy waits for before its client gets any
of it. A try whose answer is cut off can be repeated until then. Of longer ones, and of those that
do not say how long they are, the client gets each part as it comes."""

ATTEMPTS: Final = "x-envoy-attempt-count"
"""A request header of Envoy's own: while it chooses a cluster, the tries that have been."""

_REPLICA: Final = "x-plimsoll-replica"
_SENT: Final = "x-plimsoll-sent"
"""Request headers for the script alone: where this try goes, and how many bytes the tries before it
sent to replicas. The script removes them; what a client puts there is replaced.
"""

_SWEEP: Final = 10_000
_FORGET: Final = 60_000
"""Milliseconds between two looks for replicas of which nothing came for so long: they have left."""

_IS_HEDGE: Final = "x-envoy-is-timeout-retry"
"""A request header of Envoy's own: whether the try before this one goes on."""

GRPC_AS_HTTP: Final = {
    2: 500,  # UNKNOWN: what servers make of an exception
    8: 429,  # RESOURCE_EXHAUSTED
    13: 500,  # INTERNAL
    14: 503,  # UNAVAILABLE
    15: 500,  # DATA_LOSS
}
"""The statuses of gRPC that are the replica's fault, and what they are in HTTP. The others say that
the request is wrong, or that its client gave up. Such an answer is a 200 whose headers have the
status; where it comes after the answer has begun, the client has that already."""

_AS_HTTP: Final = ", ".join(f"[{grpc}] = {status}" for grpc, status in GRPC_AS_HTTP.items())

_SCRIPT: Final = f"""
local pools = {{}}
local as_http = {{{_AS_HTTP}}}
local function note(handle, replica, is_well)
  local now, name = handle:timestamp(), handle:streamInfo():routeName()
  local pool = pools[name] or {{credit = {CREDIT}, lost = 0, replicas = {{}}, swept = 0}}
  pools[name] = pool
  if now - pool.swept > {_SWEEP} then
    pool.swept, pool.well, pool.ill = now, 0, 0
    for address, it in pairs(pool.replicas) do
      if now - it.at > {_FORGET} then
        pool.replicas[address] = nil
      elseif it.is_well then
        pool.well = pool.well + 1
      else
        pool.ill = pool.ill + 1
      end
    end
  end
  local before = pool.replicas[replica]
  if before == nil or before.is_well ~= is_well then
    local gone = before == nil and 0 or 1
    pool.well = pool.well + (is_well and 1 or -gone)
    pool.ill = pool.ill + (is_well and -gone or 1)
  end
  pool.replicas[replica] = {{at = now, is_well = is_well}}
  local is_worth = pool.credit > 0
  if is_well then
    pool.credit, pool.lost = math.min(pool.credit + 1, {CREDIT}), 0
  elseif before == nil or before.is_well or pool.ill > pool.well then
    pool.credit = math.max(pool.credit - 1, 0)
  end
  return is_worth, pool
end
local function give_up(handle, why)
  handle:respond({{[":status"] = "503", ["{TRIED}"] = "1"}}, why)
end
function envoy_on_request(handle)
  local headers = handle:headers()
  local replica, sent = headers:get("{_REPLICA}"), tonumber(headers:get("{_SENT}"))
  local is_hedge = headers:get("{_IS_HEDGE}")
  headers:remove("{_REPLICA}")
  headers:remove("{_SENT}")
  headers:remove("{_IS_HEDGE}")
  local metadata = handle:streamInfo():dynamicMetadata()
  local past = metadata:get("plimsoll") or {{}}
  if sent > (past["sent"] or 0) and not past["answered"] and is_hedge ~= "true" then
    local _, pool = note(handle, past["replica"], false)
    if past["silent"] ~= nil and past["silent"] ~= past["replica"] then
      pool.lost = pool.lost + 1
      give_up(handle, "two replicas did not answer")
      return
    end
    if pool.lost >= {CREDIT} then
      give_up(handle, "a replica did not answer, and none has lately")
      return
    end
    metadata:set("plimsoll", "silent", past["replica"])
  end
  metadata:set("plimsoll", "replica", replica)
  metadata:set("plimsoll", "sent", sent)
  metadata:set("plimsoll", "answered", false)
end
function envoy_on_response(handle)
  local headers = handle:headers()
  local metadata = handle:streamInfo():dynamicMetadata()
  local past = metadata:get("plimsoll")
  if past == nil then
    return
  end
  local status = tonumber(headers:get(":status"))
  local grpc = tonumber(headers:get("grpc-status") or "")
  status = grpc and as_http[grpc] or status
  if status < 500 and status ~= 429 then
    local length = tonumber(headers:get("content-length") or "")
    if length ~= nil and length > 0 and length <= (handle:metadata():get("{BUFFERED}") or 0) then
      handle:body()
    end
    note(handle, past["replica"], true)
    return
  end
  if status == 429 and grpc == nil and headers:get("retry-after") == nil then
    headers:add("retry-after", "1")
  end
  local refused = status == 429 or status == 503
  local erred = past["erred"] or past["replica"]
  local is_first = erred == past["replica"]
  local is_final = headers:get("{TRIED}") ~= nil
  headers:replace("{TRIED}", "1")
  local is_worth = note(handle, past["replica"], false)
  if is_worth and not is_final and (refused or is_first and (status == 500 or status == 502)) then
    headers:add("{RETRY_HEADER}", "1")
    metadata:set("plimsoll", "erred", erred)
    metadata:set("plimsoll", "answered", true)
  end
end
"""
"""Ends a request that two replicas left without an answer, and marks answers to be tried again.

A try that could not connect sent no byte: that replica was dead before the request came, and does
not count. Envoy adds up what all tries of a request sent, so a try that reached a replica shows in
the next one. One that is hedged goes on, and may still be answered.

A refusal has cost nothing. With 500 or 502 a request may have broken the replica (a GPU's context
that is lost stays so), so a second replica's error is the answer. The same replica may be the
second one, too: the cluster for retries knows it as another host.

Envoy's own budget for retries counts requests in flight: where each is refused at once there are
none, and the budget's minimum for each Envoy binds in none of many.

The router has seen nothing of an answer that the script keeps, so a connection that ends before all
of it has come is to Envoy one that ends without an answer.
"""


@lru_cache(maxsize=1)
def upstream_filters() -> tuple[hcm_v3.HttpFilter, ...]:
    """The filters between an Envoy's router and the replicas."""
    about_try = ((_REPLICA, "%UPSTREAM_HOST%"), (_SENT, "%UPSTREAM_WIRE_BYTES_SENT%"))
    mutations = [mutation_v3.HeaderMutation(append=set_header(*header)) for header in about_try]
    known = header_mutation_v3.HeaderMutation(
        mutations=header_mutation_v3.Mutations(request_mutations=mutations)
    )
    script = lua_v3.Lua(default_source_code=core_v3.DataSource(inline_string=_SCRIPT))
    return (
        http_filter("header_mutation", known),
        http_filter("lua", script),
        http_filter("upstream_codec", upstream_codec_v3.UpstreamCodec()),
    )


def retry_policy() -> route_v3.RetryPolicy:
    """Try again, elsewhere, what a replica could not answer.

    An embedding is a pure function of its text, so a request that was cut off may be sent again.
    A try has no timeout unless a pool is hedged: a slow answer is load, and a second try would
    double it. Requests
    without an answer are all tried again: with one of three replicas a third of what is in flight
    is lost. Answers are tried again where the limiter marks them.

    Where replicas have priorities the second try goes to another one, if there is one: the two fast
    replicas, or all of a zone, may be down before a health check has seen it.
    """
    return route_v3.RetryPolicy(
        retry_on="reset,connect-failure,refused-stream,retriable-headers",
        retriable_headers=[route_v3.HeaderMatcher(name=RETRY_HEADER, present_match=True)],
        num_retries=TRIES - 1,
        refresh_cluster_on_retry=True,
        retry_host_predicate=[
            route_v3.RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=protobuf.Any.pack(previous_hosts_v3.PreviousHostsPredicate()),
            )
        ],
        host_selection_retry_max_attempts=10,
        retry_priority=route_v3.RetryPolicyRetryPriority(
            name="envoy.retry_priorities.previous_priorities",
            typed_config=protobuf.Any.pack(
                priorities_v3.PreviousPrioritiesConfig(update_frequency=1)
            ),
        ),
        retry_back_off=route_v3.RetryPolicyRetryBackOff(
            base_interval=timedelta(milliseconds=10), max_interval=timedelta(milliseconds=250)
        ),
    )


def clusters_by_try(cluster: str, first: str) -> route_v3.ClusterSpecifierPlugin:
    """What chooses a request's cluster: `first`, and in further tries that for retries."""
    is_further = matcher_v3.MatcherMatcherListPredicate(
        single_predicate=matcher_v3.MatcherMatcherListPredicateSinglePredicate(
            input=_extension(
                "attempts", envoy_matcher_v3.HttpRequestHeaderMatchInput(header_name=ATTEMPTS)
            ),
            value_match=matcher_v3.StringMatcher(
                safe_regex=matcher_v3.RegexMatcher(
                    google_re2=matcher_v3.RegexMatcherGoogleRe2(), regex=f"[1-{TRIES - 1}]"
                )
            ),
        )
    )
    chosen = matcher_v3.Matcher(
        matcher_list=matcher_v3.MatcherMatcherList(
            matchers=[
                matcher_v3.MatcherMatcherListFieldMatcher(
                    predicate=is_further, on_match=_to(retry_cluster_of(cluster))
                )
            ]
        ),
        on_no_match=_to(first),
    )
    return route_v3.ClusterSpecifierPlugin(
        extension=extension(
            "envoy.router.cluster_specifier_plugin.matcher",
            specifier_v3.MatcherClusterSpecifier(cluster_matcher=chosen),
        )
    )


def _to(cluster: str) -> matcher_v3.MatcherOnMatch:
    return matcher_v3.MatcherOnMatch(
        action=_extension("cluster", specifier_v3.ClusterAction(cluster=cluster))
    )


def _extension(
    name: str, config: envoy_matcher_v3.HttpRequestHeaderMatchInput | specifier_v3.ClusterAction
) -> xds_core_v3.TypedExtensionConfig:
    return xds_core_v3.TypedExtensionConfig(name=name, typed_config=protobuf.Any.pack(config))
