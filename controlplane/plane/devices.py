"""The readings of exporters of GPU memory, and which replica each is about."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final

from controlplane.config import Address, GpuSettings, PoolSettings, ReplicaSettings
from controlplane.config.metrics import AccessSettings
from controlplane.fleet import Pool, Replica
from controlplane.plane.observed import Failure
from controlplane.telemetry import Device, GpuMemory
from controlplane.telemetry.devices import same_gpu

FORGOTTEN: Final = 10.0
"""Scrape intervals after which the reading of an exporter no longer counts."""
POD_LABELS: Final = ("namespace", "pod")
"""The labels of a replica that say which pod it is."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """An exporter of GPU memory. One that several pools name is scraped once for all of them."""

    address: Address
    settings: GpuSettings
    access: AccessSettings | None = None

    @property
    def key(self) -> tuple[Address, str]:
        """The same for the same exposition."""
        return (self.address, self.settings.path)


@dataclass(frozen=True, slots=True)
class GpuReport:
    """What exporters report of the GPUs that one replica is on, the fullest last.

    `age`: seconds since the oldest scrape. `failure`: why the last scrape of an exporter failed.
    """

    memory: tuple[GpuMemory, ...] = ()
    age: float | None = None
    failure: str | None = None


@dataclass(slots=True)
class _Seen:
    devices: tuple[Device, ...] = ()
    at: float | None = None


_Key = tuple[Address, str]


class Devices:
    """The newest reading of every exporter."""

    def __init__(self) -> None:
        self._seen: dict[_Key, _Seen] = {}
        self._failing: dict[_Key, str] = {}
        # Who is on which device is asked for thousands of replicas in one decision.
        self._by_uuid: dict[str, list[tuple[_Key, Device]]] = {}
        self._by_pod: dict[tuple[str, str], list[tuple[_Key, Device]]] = {}
        self._is_indexed = True

    def record(self, exporter: Exporter, outcome: tuple[Device, ...] | Failure, now: float) -> None:
        """Take in a scrape; after one that failed the last good reading stands until it is old."""
        seen = self._seen.setdefault(exporter.key, _Seen())
        if isinstance(outcome, Failure):
            self._failing[exporter.key] = outcome.sentence
        else:
            seen.devices, seen.at = outcome, now
            self._failing.pop(exporter.key, None)
            self._is_indexed = False

    def forget_but(self, exporters: Iterable[Exporter]) -> None:
        """Forget the readings of exporters that no pool names any more."""
        named = {exporter.key for exporter in exporters}
        self._seen = {key: seen for key, seen in self._seen.items() if key in named}
        self._failing = {key: failure for key, failure in self._failing.items() if key in named}
        self._is_indexed = False

    def gpus_of(self, pool: Pool, replica: Replica, now: float) -> GpuReport | None:
        """Look up the GPUs of a replica; None where its pool names no exporter.

        A replica is on the GPU whose uuid it declares, and on those of the pod that its labels
        ``namespace`` and ``pod`` name.
        """
        if (settings := pool.settings.metrics.gpu) is None:
            return None
        memory: dict[str, GpuMemory] = {}
        ages = []
        for key, device, uuid in self._devices_of(replica.settings):
            if key[1] != settings.path or key[0] not in settings.addresses:
                continue
            at = self._seen[key].at
            if at is not None and now - at <= FORGOTTEN * settings.interval:
                memory[same_gpu(uuid)] = replace(device.memory, uuid=uuid)
                ages.append(now - at)
        ordered = sorted(memory.values(), key=lambda gpu: (gpu.fraction, gpu.uuid or ""))
        return GpuReport(tuple(ordered), max(ages, default=None), self._failure(settings))

    def _devices_of(self, replica: ReplicaSettings) -> Iterator[tuple[_Key, Device, str]]:
        """Of any exporter, with its uuid as declared; one that is of the pod too comes twice."""
        if not self._is_indexed:
            self._index()
        declared = replica.gpu.uuid if replica.gpu is not None else None
        namespace, name = (replica.labels.get(label) for label in POD_LABELS)
        if namespace and name:
            for key, device in self._by_pod.get((namespace, name), ()):
                yield key, device, device.uuid
        if declared is not None:
            for key, device in self._by_uuid.get(same_gpu(declared), ()):
                yield key, device, declared

    def _failure(self, settings: GpuSettings) -> str | None:
        """Why the last scrape of an exporter failed: of the first of them that did."""
        if not self._failing:
            return None
        keys = ((address, settings.path) for address in settings.addresses)
        return next((self._failing[key] for key in keys if key in self._failing), None)

    def _index(self) -> None:
        self._by_uuid, self._by_pod, self._is_indexed = {}, {}, True
        for key, seen in self._seen.items():
            for device in seen.devices:
                self._by_uuid.setdefault(same_gpu(device.uuid), []).append((key, device))
                for pod in device.pods:
                    self._by_pod.setdefault(pod, []).append((key, device))


def exporters_of(
    pools: Iterable[PoolSettings], accesses: Iterable[AccessSettings | None] = ()
) -> Mapping[tuple[Address, str], Exporter]:
    """List the exporters of pools, by key; `accesses`: how those of each pool are asked."""
    found: dict[tuple[Address, str], Exporter] = {}
    for pool, access in zip_longest(pools, accesses):
        if (settings := pool.metrics.gpu) is None:
            continue
        for address in settings.addresses:
            exporter = Exporter(address, settings, access)
            known = found.get(exporter.key)
            if known is None or settings.interval < known.settings.interval:
                found[exporter.key] = exporter
    return found
