"""Builds everything and joins it; the only file that knows all the parts.

Edges tell the plane what they saw and wake one task, which decides and hands the catalog to the
xDS server, as often as `plane.pacing` lets it.
"""

import asyncio
import logging
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from controlplane.api.auth import server_context
from controlplane.api.server import RestServer
from controlplane.ca.certificates import CaError
from controlplane.ca.folder import CaFolder, Content
from controlplane.ca.issuing import Issuer
from controlplane.config import Address, Config, SettingsError
from controlplane.config_file import Source, tls_source, token_source, watch, watch_source
from controlplane.discovery import Discovery, open_source
from controlplane.envoy_reports import Loads, Scaling
from controlplane.fleet import AuditLog, Change, registered, restored, whole
from controlplane.identity import Admission
from controlplane.istio import IstioServer
from controlplane.latest import Latest, Notice
from controlplane.metrics import OwnMetrics
from controlplane.plane import PUSH_INTERVAL, DecisionBudget, Plane, State
from controlplane.resources.catalog import Catalog
from controlplane.scraping.checks import HealthChecks
from controlplane.scraping.scraper import Scraper
from controlplane.store import Registry, Store, WeightKeeper
from controlplane.turns import in_turns
from controlplane.xds import Offer, XdsServer, XdsTls, events

if TYPE_CHECKING:
    from controlplane.tracing import Tracing

_log = logging.getLogger(__name__)

IDLE_INTERVAL: Final = 1.0
"""Seconds after which a decision is made even if nothing was noticed: leases run out, and
readings grow old, without an event."""

RENEWAL_INTERVAL: Final = 1.0
"""Seconds between two looks at which certificates are to be replaced."""

GRACE: Final = 2.0
"""Seconds for open streams and requests to end when the control plane stops."""

NO_OPENTELEMETRY: Final = "takes packages that are not installed: pip install 'plimsoll[otlp]'"


@dataclass(frozen=True, slots=True)
class Running:
    """A control plane that serves; `reread` has all files that are followed read at once."""

    admin: Address
    xds: Address
    reread: Callable[[], None]


@asynccontextmanager
async def running(config: Config, path: Path | None = None) -> AsyncIterator[Running]:
    """Run a control plane for as long as the context is open.

    Raises:
        SettingsError: When the config names a file that cannot be used.
        Refused: When its pools contradict each other, or what the API said.
        OSError: When an address cannot be listened on, or the store not be used; the text says
            which.
    """
    store = Store(_folder(path) / config.store.path)
    try:
        async with _running(config, path, store) as addresses:
            yield addresses
    finally:
        await store.close()


@asynccontextmanager
async def _running(config: Config, path: Path | None, store: Store) -> AsyncIterator[Running]:
    file, folder = config.admin.token_file, _folder(path)
    token_file = token_source(folder / file) if file else None
    tokens = token_file.read() if token_file else ()
    servers = {"xds": config.xds, "admin": config.admin, "istio": config.istio}
    files = {
        name: tls_source(f"{name}.tls", server.tls, folder, server_context)
        for name, server in servers.items()
        if server is not None and server.tls is not None
    }
    credentials = {name: source.read() for name, source in files.items()}
    xds_tls = None
    if (tls := config.xds.tls) is not None:
        admission = Admission(config.identity.trust_domain, tls.nodes)
        xds_tls = XdsTls(credentials["xds"], admission, tls.max_connection_age)
    issuer = _issuer(config, folder)
    if issuer and xds_tls:
        xds_tls.admission.revoked = issuer.is_revoked
    loaded = await store.load()
    plane = Plane(time.monotonic(), config.identity.trust_domain, config.otlp)
    if loaded.lost is not None:
        plane.recovery.begin(is_missing=loaded.is_missing)
    # What takes long for thousands of replicas is done in other threads, here and below.
    fleet = await asyncio.to_thread(restored, loaded.registered, config, time.monotonic())
    plane.adopt(whole(fleet), time.monotonic())
    plane.restore(loaded.weighings, time.monotonic())
    plane.discoveries.adopt(config.pools)
    plane.scrape_with(config.pools)
    slot: Latest[Offer | None] = Latest(None)
    woken = Notice(time.monotonic)
    metrics = OwnMetrics(plane)
    tracing = _tracing(config, plane)
    scraper = Scraper(plane, woken.set, scraped=metrics.scraped, folder=_folder(path))

    def observe(node: str, event: events.Event) -> None:
        _log_event(node, event)
        metrics.streams.observe(event)
        rest.observe(node, event)

    xds = XdsServer(
        config.xds.address,
        slot,
        observe,
        loads=Loads(plane, woken),
        samples=plane,
        health=plane,
        scaling=Scaling(plane),
        pushes=(metrics.pushes, *((tracing,) if tracing else ())),
        node_observer=plane,
        tls=xds_tls,
        secrets=issuer.secrets_of if issuer else None,
    )
    istio = None
    if config.istio is not None:
        istio = IstioServer(
            config.istio,
            slot,
            lambda: plane.catalog if slot.value is not None else None,
            credentials.get("istio"),
        )

    def unchecked() -> set[str]:
        """The pools whose clients check the health of no replica themselves."""
        return xds.grpc_pools().union(istio.pools() if istio else ())

    checks = HealthChecks(plane, unchecked, woken.set, scraper.access)
    metrics.streams.show(
        streams=lambda: xds.streams,
        queue_depth=lambda: xds.streams_waiting,
        nodes=lambda: xds.nodes_connected,
        nodes_rejecting=lambda: xds.nodes_rejecting,
        istiods=lambda: istio.connected if istio else 0,
    )
    metrics.show_store(
        lambda: store.failure is None,
        lambda: store.results,
        lambda: plane.recovery.is_on,
        lambda: registry.waiting,
    )
    if issuer is not None:
        metrics.certificate("ca", lambda: issuer.content.authority.validity)

    def cause(name: str) -> AbstractContextManager[None]:
        return tracing.change(name) if tracing else nullcontext()

    def changed(changes: Sequence[Change]) -> None:
        if tracing is not None:
            tracing.changed(changes)
        scraper.reconcile(changes)
        checks.reconcile(changes)
        rest.changed(changes)
        woken.set()

    audit = AuditLog(loaded.audit)
    is_stored = await asyncio.to_thread(registered, plane.fleet) == loaded.registered
    registry = Registry(
        plane,
        store,
        changed,
        time.monotonic,
        is_stored=is_stored,
        audit=audit,
        wall_clock=time.time,
    )
    keeper = WeightKeeper(plane, store, time.monotonic, time.time)

    async def discover() -> None:
        with cause("discovery"):
            await registry.discover()
        await in_turns(rest.looking())

    opened = partial(open_source, base=_folder(path))
    discovery = Discovery(plane, discover, woken.set, open_source=opened)
    discovery.follow(config.pools)

    async def adopt(changed_config: Config) -> None:
        _servers_stay(config, changed_config)
        plane.refuse_at_listeners(changed_config)
        with cause("config file"):
            await registry.declare(changed_config)
        discovery.follow(changed_config.pools)
        await in_turns(rest.looking())

    is_first = True

    def report(seconds: float) -> Iterator[None]:
        nonlocal is_first
        metrics.decision_took(seconds)
        if is_first:
            is_first = False
            _log_not_ready(plane)
        for name, error in plane.failed_decisions().items():
            _log.error("Pool %s: no decision could be made", name, exc_info=error)
        for sentence in plane.recovery.news():
            _log.warning("%s", sentence)
        yield from plane.histories.writing()
        yield from plane.sampling_trends(time.monotonic())
        yield from plane.sizing(time.monotonic())
        yield from rest.looking()

    asked: list[asyncio.Event] = []

    def reread() -> None:
        for each in asked:
            each.set()

    def is_asked() -> asyncio.Event:
        asked.append(asyncio.Event())
        return asked[-1]

    rest = RestServer(
        config.admin,
        plane,
        carry_out=registry.apply,
        nodes=xds.nodes,
        audit=audit,
        # Without pools there is nothing to serve, and the API is what brings them.
        ready=lambda: slot.value is not None or not plane.fleet.pools,
        metrics=metrics.page,
        tokens=tokens,
        credentials=credentials.get("admin"),
        issuer=issuer,
        middlewares=(tracing.middleware,) if tracing else (),
    )
    try:
        addresses = Running(await rest.start(), await xds.start(), reread)
        if istio is not None:
            _log.info("istiod is served on %s", await istio.start())
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []

            def begin(work: Coroutine[Any, Any, None], name: str) -> None:
                tasks.append(group.create_task(work, name=name))

            deciding = tracing.deciding if tracing else _untraced
            begin(scraper.run(), "scraper")
            begin(checks.run(), "health checks")
            begin(discovery.run(), "discovery")
            steering = steer(plane, slot, woken, report, lambda: xds.streams or None, deciding)
            begin(steering, "steering")
            begin(registry.run(), "leases")
            begin(keeper.run(), "weights")
            begin(metrics.watch_event_loop(), "event loop")
            if path is not None:
                begin(watch(path, config, adopt, metrics.config_file, is_asked()), "config file")
            if token_file is not None:
                looked = metrics.token_file
                follow = watch_source(token_file, tokens, rest.accept, looked, is_asked())
                begin(follow, "token file")
            if issuer is not None:
                begin(_renew(issuer, xds), "certificates of nodes")
                source, looked = _ca_source(issuer), metrics.certificates("ca")
                follow = watch_source(source, issuer.content, issuer.adopt, looked, is_asked())
                begin(follow, "certificate authority")
            accept = {"xds": xds.accept, "admin": rest.accept_credentials}
            accept |= {"istio": istio.accept} if istio is not None else {}
            for name, certificates in files.items():
                known, looked = credentials[name], metrics.certificates(name)
                take = metrics.following(name, known, accept[name])
                follow = watch_source(certificates, known, take, looked, is_asked())
                begin(follow, f"certificates of {name}")
            try:
                yield addresses
            finally:
                for task in tasks:
                    task.cancel()
    finally:
        await asyncio.gather(xds.stop(GRACE), rest.stop(GRACE))
        if istio is not None:
            await istio.stop()
        await registry.look_at_file()
        await registry.close()
        await keeper.save()
        if tracing is not None:
            await asyncio.to_thread(tracing.stop)


def _untraced(_name: str) -> Callable[[bool], None]:
    return lambda _is_new: None


async def steer(
    plane: Plane,
    slot: Latest[Offer | None],
    woken: Notice,
    report: Callable[[float], Iterable[None]],
    envoys: Callable[[], int | None] = lambda: None,
    deciding: Callable[[str], Callable[[bool], None]] = _untraced,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    cpu: Callable[[], float] = time.thread_time,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Decide whenever something was noticed, and hand out what has changed, until cancelled.

    While it is too early for a decision, what the fleet alone has changed is handed out.

    Args:
        slot: Takes the catalog; not before the plane has seen enough since the start.
        woken: Set when something was noticed.
        report: Told how many seconds each decision took; the pieces of what follows from it.
        envoys: How many are connected; None where that is not known.
        deciding: Called before each decision or refresh; returns what to call after it, with
            whether Envoys get something new.
        sleep: Waits for some seconds.
        cpu: Seconds of CPU taken so far; what others take of a machine is no reason to wait.
        clock: Seconds that never go back; the one of the plane.
    """
    pacing = DecisionBudget(clock())
    undecided: float | None = None
    while True:
        now = clock()
        try:
            async with asyncio.timeout(IDLE_INTERVAL if undecided is None else pacing.wait(now)):
                await woken.wait()
            is_idle = False
        except TimeoutError:
            is_idle = undecided is None
        now = clock()
        noticed = woken.clear(now)
        if plane.has_started(now):
            if pacing.wait(now) > 0:
                # It grows with what has changed, so it is not held against the next decision.
                undecided, spent = noticed if undecided is None else undecided, None
                made, build = deciding("refresh"), plane.refreshing()
            else:
                noticed, undecided = noticed if undecided is None else undecided, None
                spent = await in_turns(plane.writing(now))
                now, begun = clock(), cpu()
                made, build = deciding("decision"), plane.deciding(now, envoys())
                spent += cpu() - begun
            built, cpu_of_it = await asyncio.to_thread(_timed, build, cpu)
            catalog = plane.built(built)
            made(is_new := slot.value is None or catalog is not slot.value.catalog)
            if is_new:
                slot.set(Offer(catalog, noticed))
                is_idle = False
            if spent is not None:
                pacing.spend(spent + cpu_of_it, clock())
                await in_turns(report(clock() - now))
        # What comes after a look at nothing new need not wait for another.
        if not is_idle:
            await sleep(PUSH_INTERVAL)


def _timed(build: Callable[[], Catalog], cpu: Callable[[], float]) -> tuple[Catalog, float]:
    """Build a catalog, and count the seconds of CPU of this thread."""
    begun = cpu()
    return build(), cpu() - begun


def _log_not_ready(plane: Plane) -> None:
    """Log which pools have replicas that did not answer at the start; later changes are logged."""
    for name in plane.fleet.pools:
        states = [summary.state for _, summary in plane.summaries(name)]
        if waiting := sum(state is not State.READY for state in states):
            _log.warning(
                "pool %s: %d of %d replicas are not ready; `plimsoll explain %s` says why",
                *(name, waiting, len(states), name),
            )


async def _renew(issuer: Issuer, xds: XdsServer) -> None:
    while True:
        await asyncio.sleep(RENEWAL_INTERVAL)
        issuer.keep(await xds.renew_secrets())


def _folder(path: Path | None) -> Path:
    """Return the folder of the config file: paths in the config are relative to it."""
    return path.parent if path else Path()


def _issuer(config: Config, folder: Path) -> Issuer | None:
    """Open the certificate authority that issues leaves to nodes; None: there is none."""
    settings = config.identity.ca
    if settings is None:
        return None
    try:
        return Issuer(
            CaFolder(folder / settings.path),
            config.identity.trust_domain,
            settings.leaf_ttl,
            settings.ingresses,
        )
    except CaError as error:
        raise SettingsError(str(error), ("identity", "ca", "path")) from None


def _tracing(config: Config, plane: Plane) -> "Tracing | None":
    """Open what sends the control plane's own spans; None: it sends none."""
    if config.otlp is None or not config.otlp.control_plane:
        return None
    try:
        from controlplane.tracing import Tracing
    except ModuleNotFoundError:
        raise SettingsError(NO_OPENTELEMETRY, ("otlp", "control_plane")) from None
    return Tracing(config.otlp, plane)


def _ca_source(issuer: Issuer) -> Source[Content]:
    """The files of the certificate authority, which reads them itself."""
    name = "the files of the certificate authority"
    return Source("identity.ca", name, issuer.files, lambda _: issuer.read())


def _servers_stay(old: Config, new: Config) -> None:
    for key in ("admin", "xds", "store", "identity", "otlp", "istio"):
        if getattr(old, key) != getattr(new, key):
            raise SettingsError("cannot change while the control plane runs; restart it", (key,))


def _log_event(node: str, event: events.Event) -> None:
    match event:
        case events.Connected():
            _log.info("%s connected", node)
        case events.Refused(peer, reason):
            _log.warning("xDS refuses %s from %s: %s", node, peer, reason)
        case events.Disconnected(reason):
            _log.info("%s disconnected%s", node, f": {reason}" if reason else "")
        case events.Rejected(type_url, names, message):
            kind = type_url.rpartition(".")[2]
            _log.warning("%s rejected %s %s: %s", node, kind, ", ".join(names), message)
        case events.Unserved(type_url):
            _log.info("%s asked for %s, which is not served", node, type_url)
        case _:
            _log.debug("%s: %s", node, event)
