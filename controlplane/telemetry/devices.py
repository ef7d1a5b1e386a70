"""GPUs as an exporter beside the replicas tells of them, to be joined to replicas.

In comes the exposition of one node's exporter; out come its devices, each with the pods on it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.config import GpuSettings
from controlplane.telemetry.exposition import Exposition, parse
from controlplane.telemetry.layouts import ExpositionError, Labels
from controlplane.telemetry.profile import Source
from controlplane.telemetry.sums import GpuMemory, Sum, fraction_of

Pod = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """How to read an exporter of GPUs.

    Attributes:
        used: Gauge of what is in use.
        totals: Gauges that add up to what there is; the first that are all exposed count.
        reserved: Gauge that is added to a total of several, where it is exposed.
        free: Gauge that with the first of `totals` says what is in use, where `used` is not there.
        ratio: Gauge of the part in use, for GPUs without any other gauge of it.
        others: Gauges with another name each, of older releases or of configured ones.
        labels: That name a GPU; the first that is there counts.
        instance: The label of a part of a GPU that has memory of its own (MIG).
        blank: Values from here on mean unknown.
    """

    name: str
    unit: str
    used: str
    totals: tuple[tuple[str, ...], ...] = ()
    reserved: str = ""
    free: str = ""
    ratio: str = ""
    only: tuple[tuple[str, str], ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    labels: tuple[str, ...] = ("UUID", "uuid")
    instance: str = ""
    pods: tuple[tuple[str, str], ...] = ()
    blank: float = math.inf

    def source(self, family: str) -> Source:
        """Where a gauge is read from."""
        unit = "ratio" if family == self.ratio else self.unit
        others = tuple(other for name, other in self.others if name == family)
        return Source(family, unit, self.only, others)

    @property
    def families(self) -> frozenset[str]:
        """All gauges that are read."""
        totals = (family for total in self.totals for family in total)
        return frozenset((self.used, *totals, self.reserved, self.free, self.ratio)) - {""}

    @property
    def samples(self) -> frozenset[str]:
        """The names of the samples that are read."""
        return frozenset(name for family in self.families for name in self.source(family).families)


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a part of one with memory of its own, whose uuid ends with ``/`` and its number."""

    uuid: str
    memory: GpuMemory
    pods: frozenset[Pod] = frozenset()


_PERCENT: Final = 100.0

_PROFILES: Final = (
    # NVIDIA/dcgm-exporter: etc/default-counters.csv; the labels in
    # internal/pkg/rendermetrics/render_metrics.go and internal/pkg/transformation/const.go, those
    # of --use-old-namespace in internal/pkg/collector/gpu_collector.go.
    # What DCGM does not know it says by a number near 2^63 (README.md has one); what is reserved
    # was not exposed by older releases. Lists of counters of one's own may have the total instead,
    # or the part in use, 0 to 1. Releases 1.x (NVIDIA/gpu-monitoring-tools) write dcgm_fb_used.
    DeviceProfile(
        name="dcgm",
        unit="MiB",
        used="DCGM_FI_DEV_FB_USED",
        totals=(("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"), ("DCGM_FI_DEV_FB_TOTAL",)),
        reserved="DCGM_FI_DEV_FB_RESERVED",
        free="DCGM_FI_DEV_FB_FREE",
        ratio="DCGM_FI_DEV_FB_USED_PERCENT",
        others=(
            ("DCGM_FI_DEV_FB_USED", "dcgm_fb_used"),
            ("DCGM_FI_DEV_FB_FREE", "dcgm_fb_free"),
        ),
        instance="GPU_I_ID",
        pods=(("namespace", "pod"), ("pod_namespace", "pod_name")),
        blank=2.0**63 - 2.0**20,
    ),
    # ROCm/device-metrics-exporter: pkg/amdgpu/gpuagent/gpuagent_gpu_metrics.go, whose labels are
    # the lower case of those in its proto; gpu_uuid is there where it was asked for, the serial
    # number always. Some dashboards of it have a prefix (MetricsFieldPrefix).
    DeviceProfile(
        name="amd",
        unit="MiB",
        used="gpu_used_vram",
        totals=(("gpu_total_vram",), ("gpu_used_vram", "gpu_free_vram")),
        free="gpu_free_vram",
        others=tuple(
            (f"gpu_{name}_vram", f"amd_gpu_{name}_vram") for name in ("used", "free", "total")
        ),
        labels=("gpu_uuid", "serial_number"),
        pods=(("namespace", "pod"),),
    ),
    # utkuozdemir/nvidia_gpu_exporter: METRICS.md; its uuid lacks the "GPU-" of nvidia-smi. The
    # other names are of mindprince/nvidia_gpu_prometheus_exporter (main.go), whose uuid has it.
    DeviceProfile(
        name="nvidia-smi",
        unit="bytes",
        used="nvidia_smi_memory_used_bytes",
        totals=(
            ("nvidia_smi_memory_total_bytes",),
            ("nvidia_smi_memory_used_bytes", "nvidia_smi_memory_free_bytes"),
        ),
        reserved="nvidia_smi_memory_reserved_bytes",
        free="nvidia_smi_memory_free_bytes",
        others=tuple(
            (f"nvidia_smi_memory_{name}_bytes", f"nvidia_gpu_memory_{name}_bytes")
            for name in ("used", "total")
        ),
        labels=("uuid",),
    ),
    # intel/xpumanager 1.x: rest/prometheus_exporter.py and py/prometheus_exporter.py. There is no
    # gauge of all memory: the ratio says how much of it is in use.
    DeviceProfile(
        name="xpumanager",
        unit="bytes",
        used="xpum_memory_used_bytes",
        ratio="xpum_memory_ratio",
        labels=("uuid",),
        pods=(("kube_namespace", "kube_pod"),),
    ),
    # intel/xpumanager 2.x: xpumd/receiver/intelxpu/semantics.md, and what the endpoint has in
    # xpumd/test/integration/k8s/xpumd_test.go; hw_id is the UUID.
    DeviceProfile(
        name="xpumd",
        unit="bytes",
        used="hw_memory_usage_bytes",
        totals=(("hw_memory_size_bytes",),),
        only=(("hw_memory_location", "device"),),
        labels=("hw_id",),
        instance="com_intel_subdevice_id",
    ),
    # https://docs.habana.ai/en/latest/Orchestration/Prometheus_Metric_Exporter.html
    DeviceProfile(
        name="habana",
        unit="bytes",
        used="habanalabs_memory_used_bytes",
        totals=(
            ("habanalabs_memory_total_bytes",),
            ("habanalabs_memory_used_bytes", "habanalabs_memory_free_bytes"),
        ),
        free="habanalabs_memory_free_bytes",
        labels=("UUID", "uuid", "serial", "serial_number"),
        pods=(
            ("namespace", "pod"),
            ("pod_namespace", "pod_name"),
            ("exported_namespace", "exported_pod"),
        ),
    ),
    # Device plugins of GKE: for NVIDIA's GPUs GoogleCloudPlatform/container-engine-accelerators,
    # pkg/gpu/nvidia/metrics/metrics.go; the one for TPUs has the same names, with a TPU's chip as
    # the accelerator. What no container has asked for has other names.
    DeviceProfile(
        name="gke",
        unit="bytes",
        used="memory_used",
        totals=(("memory_total",),),
        labels=("accelerator_id",),
        pods=(("namespace", "pod"),),
    ),
)

DEVICE_PROFILES: Final = {profile.name: profile for profile in _PROFILES}
"""Profiles by name. To add one, add an entry."""


def device_profile_of(settings: GpuSettings) -> DeviceProfile:
    """The profile that a pool's settings choose."""
    return DEVICE_PROFILES[settings.profile]


def read_devices(text: str, profile: DeviceProfile) -> tuple[Device, ...]:
    """Read a scraped text.

    Returns:
        Every device whose used and total memory are known, by uuid.

    Raises:
        ExpositionError: Whatever is wrong with the text; no other error escapes.
    """
    exposition = parse(text, profile.samples)
    amounts = {family: _by_device(exposition, family, profile) for family in profile.families}
    pods = _pods(exposition, profile)
    found = []
    for uuid in sorted(set().union(*amounts.values())):
        there_is = _total(uuid, amounts, profile)
        used = amounts[profile.used].get(uuid)
        if used is None and there_is and uuid in amounts.get(profile.free, {}):
            free = amounts[profile.free][uuid]
            if free > there_is:
                raise ExpositionError(f"{profile.free} says that more is free than there is")
            used = there_is - free
        if used is None or not there_is:
            used, there_is = amounts.get(profile.ratio, {}).get(uuid), 1.0
        if used is not None and math.isfinite(there_is):
            family = profile.used if uuid in amounts[profile.used] else profile.ratio
            fraction_of(exposition.layout.family_of(profile.source(family)), used, there_is)
            memory = GpuMemory(uuid, used, there_is)
            found.append(Device(uuid, memory, frozenset(pods.get(uuid, ()))))
    return tuple(found)


def same_gpu(uuid: str) -> str:
    """Return the part of a GPU's uuid that all ways to write it share."""
    return uuid.lower().removeprefix("gpu-")


def _total(
    uuid: str, amounts: Mapping[str, Mapping[str, float]], profile: DeviceProfile
) -> float | None:
    """What there is of a device's memory; None where that is not exposed."""
    for total in profile.totals:
        if all(uuid in amounts[family] for family in total):
            reserved = amounts.get(profile.reserved, {}) if len(total) > 1 else {}
            return sum(amounts[family][uuid] for family in total) + reserved.get(uuid, 0.0)
    return None


def _by_device(exposition: Exposition, family: str, profile: DeviceProfile) -> dict[str, float]:
    """The largest, not the sum: a device that is shared is exposed once for each pod on it."""
    values: dict[str, float] = {}
    source = profile.source(family)
    for labels, index in exposition.layout.of(source):
        amount = Sum(source.family, source.scale, (index,))
        value = amount.of(exposition.values, profile.blank)
        uuid = _uuid(labels, profile)
        if value is not None and uuid is not None:
            values[uuid] = max(value, values.get(uuid, 0.0))
    if source.unit == "ratio" and any(value > 1 for value in values.values()):
        # A percentage in some releases: then it is one for all.
        values = {uuid: value / _PERCENT for uuid, value in values.items()}
    return values


def _pods(exposition: Exposition, profile: DeviceProfile) -> dict[str, set[Pod]]:
    pods: dict[str, set[Pod]] = {}
    for family in profile.families:
        for labels, _ in exposition.layout.of(profile.source(family)):
            uuid = _uuid(labels, profile)
            for namespace, name in profile.pods:
                if uuid is not None and (pod := labels.values.get(name)):
                    pods.setdefault(uuid, set()).add((labels.values.get(namespace, ""), pod))
    return pods


def _uuid(labels: Labels, profile: DeviceProfile) -> str | None:
    uuid = next((each for name in profile.labels if (each := labels.values.get(name))), None)
    part = labels.values.get(profile.instance)
    return f"{uuid}/{part}" if uuid and part else uuid
