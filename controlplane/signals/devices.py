"""GPUs as an exporter beside the replicas tells of them, to be joined to replicas.

In comes the exposition of one node's exporter; out come its devices, each with the pods on it.
"""

import math
from dataclasses import dataclass
from typing import Final

from controlplane.settings import GpuSettings
from controlplane.signals.exposition import Exposition, parse
from controlplane.signals.memory import GpuMemory, fraction_of
from controlplane.signals.profile import Memory, Source
from controlplane.signals.series import Labels
from controlplane.signals.sums import Sum

Pod = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """How to read an exporter of GPUs.

    Attributes:
        name: As the config file names it.
        memory: Its families.
        instance: The label of a part of a GPU that has memory of its own (MIG).
        pods: Pairs of labels that name the pod on a device, by whichever it is exposed.
    """

    name: str
    memory: Memory
    instance: str
    pods: tuple[tuple[str, str], ...]

    @property
    def samples(self) -> frozenset[str]:
        """The names of the samples that are read."""
        return frozenset(source.family for source in self.memory.sources)


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a part of one that has memory of its own.

    Attributes:
        uuid: Of the GPU; of a part with ``/`` and the number of the part.
        memory: Under the same uuid.
        pods: Those that it is given to.
    """

    uuid: str
    memory: GpuMemory
    pods: frozenset[Pod] = frozenset()


_DCGM: Final = DeviceProfile(
    # NVIDIA/dcgm-exporter: etc/default-counters.csv; the labels in
    # internal/pkg/rendermetrics/render_metrics.go and internal/pkg/transformation/const.go.
    # What DCGM does not know it says by a number near 2^63 (README.md has one); what is reserved
    # was not exposed by older releases.
    name="dcgm",
    memory=Memory(
        Source("DCGM_FI_DEV_FB_USED", "MiB"),
        (Source("DCGM_FI_DEV_FB_USED", "MiB"), Source("DCGM_FI_DEV_FB_FREE", "MiB")),
        (Source("DCGM_FI_DEV_FB_RESERVED", "MiB"),),
        gpu_label="UUID",
        blank=2.0**63 - 2.0**20,
    ),
    instance="GPU_I_ID",
    pods=(("namespace", "pod"), ("pod_namespace", "pod_name")),
)

_PROFILES: Final = {profile.name: profile for profile in (_DCGM,)}


def device_profile_of(settings: GpuSettings) -> DeviceProfile:
    """The profile that a pool's settings choose."""
    return _PROFILES[settings.profile]


def read_devices(text: str, profile: DeviceProfile) -> tuple[Device, ...]:
    """Read a scraped text.

    Returns:
        Every device whose used and total memory are known, by uuid.

    Raises:
        ExpositionError: Whatever is wrong with the text; no other error escapes.
    """
    exposition = parse(text, profile.samples)
    memory = profile.memory
    used = _by_device(exposition, memory.used, profile)
    totals = [_by_device(exposition, source, profile) for source in memory.total]
    also = [_by_device(exposition, source, profile) for source in memory.also]
    pods = _pods(exposition, profile)
    found = []
    for uuid, amount in sorted(used.items()):
        if any(uuid not in total for total in totals):
            continue
        there_is = sum(total[uuid] for total in totals) + sum(it.get(uuid, 0.0) for it in also)
        if there_is and math.isfinite(there_is):
            fraction_of(memory.used.family, amount, there_is)
            found.append(
                Device(uuid, GpuMemory(uuid, amount, there_is), frozenset(pods.get(uuid, ())))
            )
    return tuple(found)


def _by_device(exposition: Exposition, source: Source, profile: DeviceProfile) -> dict[str, float]:
    """The largest, not the sum: a device that is shared is exposed once for each pod on it."""
    values: dict[str, float] = {}
    for labels, index in exposition.layout.of(source):
        amount = Sum(source.family, source.scale, (index,))
        value = amount.of(exposition.values, profile.memory.blank)
        uuid = _uuid(labels, profile)
        if value is not None and uuid is not None:
            values[uuid] = max(value, values.get(uuid, 0.0))
    return values


def _pods(exposition: Exposition, profile: DeviceProfile) -> dict[str, set[Pod]]:
    pods: dict[str, set[Pod]] = {}
    for sample in exposition.of(profile.memory.used):
        values, uuid = sample.labels.values, _uuid(sample.labels, profile)
        for namespace, name in profile.pods:
            if uuid is not None and values.get(name):
                pods.setdefault(uuid, set()).add((values.get(namespace, ""), values[name]))
    return pods


def _uuid(labels: Labels, profile: DeviceProfile) -> str | None:
    uuid = labels.values.get(profile.memory.gpu_label)
    part = labels.values.get(profile.instance)
    return f"{uuid}/{part}" if uuid and part else uuid or None
