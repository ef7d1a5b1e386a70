"""Which resource type is sent next on an aggregated stream, so that no request is lost.

Make before break (xDS, "Eventual consistency considerations"): clusters, their endpoints, the
listeners and routes that use them, and only then the removal of clusters that nothing uses.
"""

from collections.abc import Mapping

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPE_URLS
from controlplane.resources.snapshot import Snapshot
from controlplane.xds.holdings import Pending
from controlplane.xds.subscription import Subscription


def next_up(
    active: set[str], subscriptions: Mapping[str, Subscription], snapshot: Snapshot
) -> tuple[str, Pending] | None:
    """Choose the type to send next and what of it.

    Args:
        active: The types that may have something to send. Those that have nothing, or may not be
            sent before an answer has come, are taken out.
        subscriptions: Of one stream, by type URL.
        snapshot: What its client should hold.

    Returns:
        None when nothing can be sent now. Neither a type that waits for an acknowledgement nor
        one that the client did not ask for holds up the types after it, but for two cases: see
        `_waits_for_clusters` and `_clusters_may_go`.
    """
    gone: tuple[str, ...] = ()
    for type_url in [*active] if len(active) < 2 else filter(active.__contains__, TYPE_URLS):
        subscription = subscriptions[type_url]
        if not subscription.has_work:
            active.remove(type_url)
            continue
        if _waits_for_clusters(type_url, subscriptions):
            continue
        pending = subscription.pending(snapshot)
        if type_url == CLUSTER:
            gone = pending.removed
            if gone:
                pending = Pending(pending.changed, pending.absent)
        if pending.changed and subscription.nacks.isolate(snapshot):
            # What the client has already cannot be the bad one.
            held = subscription.holdings.versions
            had = [new for new in pending.changed if held.get(new.name) == new.version]
            pending = Pending(had or pending.changed[:1], pending.absent, pending.removed)
        if pending or subscription.must_answer:
            return type_url, pending
    # Never in the first answer on a stream: when that is acknowledged, a client that reconnected
    # has also asked for its listeners and routes, and these are known to be the new ones.
    if gone and _clusters_may_go(subscriptions, snapshot):
        return CLUSTER, Pending(removed=gone)
    return None


def _waits_for_clusters(type_url: str, subscriptions: Mapping[str, Subscription]) -> bool:
    """Whether clusters are under way that this type must wait for."""
    if type_url not in (LISTENER, ROUTE):
        return False
    # Envoy withholds the acknowledgement of clusters while one of them warms, "providing a signal
    # to ADS to proceed with RDS updates" (cluster_manager_impl.cc): a route to a warming cluster
    # answers 503. Endpoints must not wait for it, since warming is waiting for endpoints.
    clusters = subscriptions.get(CLUSTER)
    return clusters is not None and clusters.outstanding is not None


def _clusters_may_go(subscriptions: Mapping[str, Subscription], snapshot: Snapshot) -> bool:
    """Whether nothing that the client still uses can point to clusters that are no more."""
    for type_url in (ENDPOINT, LISTENER, ROUTE):
        subscription = subscriptions.get(type_url)
        if subscription and subscription.outstanding:
            return False
    # A client that rejected its new routes still uses the ones before, and the clusters in them.
    return not any(
        subscriptions[type_url].nacks.concern(snapshot)
        for type_url in (LISTENER, ROUTE)
        if type_url in subscriptions
    )
