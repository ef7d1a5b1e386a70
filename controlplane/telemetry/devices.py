"""GPUs as an exporter beside the replicas tells of them, to be joined to replicas.

In comes the exposition of one node's exporter; out come its devices, each with the pods on it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controlplane.config import GpuSettings
from controlplane.telemetry.exposition import Exposition, parse
from controlplane.telemetry.profile import Source
from controlplane.telemetry.series import Labels
from controlplane.telemetry.sums import GpuMemory, Sum, fraction_of

Pod = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Total:
    """Gauges that add up to the memory there is; those in `also` may be missing."""

    parts: tuple[Source, ...]
    also: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """How to read an exporter of GPUs.

    Attributes:
        name: In the config file.
        used: Gauge of what is in use; a fraction, or a percentage, where there are no `totals`.
        totals: Ways to what there is; the first that is exposed of a device counts.
        labels: That name a GPU; the first that is there counts.
        instance: The label of a part of a GPU that has memory of its own (MIG).
        pods: Pairs of labels that name the pod on a device.
        blank: Values from here on mean unknown.
    """

    name: str
    used: Source
    totals: tuple[Total, ...] = ()
    labels: tuple[str, ...] = ("UUID", "uuid")
    instance: str = ""
    pods: tuple[tuple[str, str], ...] = ()
    blank: float = math.inf

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that is read."""
        totals = (source for total in self.totals for source in (*total.parts, *total.also))
        return (self.used, *totals)

    @property
    def samples(self) -> frozenset[str]:
        """The names of the samples that are read."""
        return frozenset(name for source in self.sources for name in source.families)


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a part of one with memory of its own, whose uuid ends with ``/`` and its number."""

    uuid: str
    memory: GpuMemory
    pods: frozenset[Pod] = frozenset()


_PERCENT: Final = 100.0

_DCGM: Final = DeviceProfile(
    # NVIDIA/dcgm-exporter: etc/default-counters.csv; the labels in
    # internal/pkg/rendermetrics/render_metrics.go and internal/pkg/transformation/const.go, those
    # of --use-old-namespace in internal/pkg/collector/gpu_collector.go.
    # What DCGM does not know it says by a number near 2^63 (README.md has one); what is reserved
    # was not exposed by older releases. Lists of counters of one's own may have the total instead.
    name="dcgm",
    used=Source("DCGM_FI_DEV_FB_USED", "MiB"),
    totals=(
        Total(
            (Source("DCGM_FI_DEV_FB_USED", "MiB"), Source("DCGM_FI_DEV_FB_FREE", "MiB")),
            (Source("DCGM_FI_DEV_FB_RESERVED", "MiB"),),
        ),
        Total((Source("DCGM_FI_DEV_FB_TOTAL", "MiB"),)),
    ),
    instance="GPU_I_ID",
    pods=(("namespace", "pod"), ("pod_namespace", "pod_name")),
    blank=2.0**63 - 2.0**20,
)

_AMD: Final = DeviceProfile(
    # ROCm/device-metrics-exporter: pkg/amdgpu/gpuagent/gpuagent_gpu_metrics.go, whose labels are
    # the lower case of those in its proto; gpu_uuid is there where it was asked for, the serial
    # number always. Some dashboards of it have a prefix (MetricsFieldPrefix).
    name="amd",
    used=Source("gpu_used_vram", "MiB", others=("amd_gpu_used_vram",)),
    totals=(
        Total((Source("gpu_total_vram", "MiB", others=("amd_gpu_total_vram",)),)),
        Total(
            (
                Source("gpu_used_vram", "MiB", others=("amd_gpu_used_vram",)),
                Source("gpu_free_vram", "MiB", others=("amd_gpu_free_vram",)),
            )
        ),
    ),
    labels=("gpu_uuid", "serial_number"),
    pods=(("namespace", "pod"),),
)

_NVIDIA_SMI: Final = DeviceProfile(
    # utkuozdemir/nvidia_gpu_exporter: METRICS.md; its uuid lacks the "GPU-" of nvidia-smi.
    name="nvidia-smi",
    used=Source("nvidia_smi_memory_used_bytes", "bytes"),
    totals=(
        Total((Source("nvidia_smi_memory_total_bytes", "bytes"),)),
        Total(
            (
                Source("nvidia_smi_memory_used_bytes", "bytes"),
                Source("nvidia_smi_memory_free_bytes", "bytes"),
            ),
            (Source("nvidia_smi_memory_reserved_bytes", "bytes"),),
        ),
    ),
    labels=("uuid",),
)

_XPUMANAGER: Final = DeviceProfile(
    # intel/xpumanager 1.x: rest/prometheus_exporter.py and py/prometheus_exporter.py. There is no
    # gauge of all memory: the ratio says how much of it is in use.
    name="xpumanager",
    used=Source("xpum_memory_ratio", "ratio"),
    labels=("uuid",),
    pods=(("kube_namespace", "kube_pod"),),
)

_ON_DEVICE: Final = (("hw_memory_location", "device"),)

_XPUMD: Final = DeviceProfile(
    # intel/xpumanager 2.x: xpumd/receiver/intelxpu/semantics.md, and what the endpoint has in
    # xpumd/test/integration/k8s/xpumd_test.go; hw_id is the UUID.
    name="xpumd",
    used=Source("hw_memory_usage_bytes", "bytes", _ON_DEVICE),
    totals=(Total((Source("hw_memory_size_bytes", "bytes", _ON_DEVICE),)),),
    labels=("hw_id",),
    instance="com_intel_subdevice_id",
)

_HABANA: Final = DeviceProfile(
    # https://docs.habana.ai/en/latest/Orchestration/Prometheus_Metric_Exporter.html
    name="habana",
    used=Source("habanalabs_memory_used_bytes", "bytes"),
    totals=(
        Total((Source("habanalabs_memory_total_bytes", "bytes"),)),
        Total(
            (
                Source("habanalabs_memory_used_bytes", "bytes"),
                Source("habanalabs_memory_free_bytes", "bytes"),
            )
        ),
    ),
    labels=("UUID", "uuid", "serial", "serial_number"),
    pods=(
        ("namespace", "pod"),
        ("pod_namespace", "pod_name"),
        ("exported_namespace", "exported_pod"),
    ),
)

DEVICE_PROFILES: Final = {
    profile.name: profile for profile in (_DCGM, _AMD, _NVIDIA_SMI, _XPUMANAGER, _XPUMD, _HABANA)
}
"""By name; one is added by adding an entry."""


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
    amounts = {source: _by_device(exposition, source, profile) for source in profile.sources}
    pods = _pods(exposition, profile)
    found = []
    for uuid, used in sorted(amounts[profile.used].items()):
        there_is = _total(uuid, amounts, profile)
        if there_is and math.isfinite(there_is):
            fraction_of(exposition.layout.family_of(profile.used), used, there_is)
            memory = GpuMemory(uuid, used, there_is)
            found.append(Device(uuid, memory, frozenset(pods.get(uuid, ()))))
    return tuple(found)


def same_gpu(uuid: str) -> str:
    """What is the same of all ways in which the uuid of one GPU is written."""
    return uuid.lower().removeprefix("gpu-")


def _total(
    uuid: str, amounts: Mapping[Source, Mapping[str, float]], profile: DeviceProfile
) -> float | None:
    """What there is of a device's memory; None where that is not exposed."""
    if not profile.totals:
        return 1.0
    for total in profile.totals:
        if all(uuid in amounts[source] for source in total.parts):
            return sum(amounts[source].get(uuid, 0.0) for source in (*total.parts, *total.also))
    return None


def _by_device(exposition: Exposition, source: Source, profile: DeviceProfile) -> dict[str, float]:
    """The largest, not the sum: a device that is shared is exposed once for each pod on it."""
    values: dict[str, float] = {}
    for labels, index in exposition.layout.of(source):
        amount = Sum(source.family, source.scale, (index,))
        value = amount.of(exposition.values, profile.blank)
        if source.unit == "ratio" and value is not None and value > 1:
            value /= _PERCENT
        uuid = _uuid(labels, profile)
        if value is not None and uuid is not None:
            values[uuid] = max(value, values.get(uuid, 0.0))
    return values


def _pods(exposition: Exposition, profile: DeviceProfile) -> dict[str, set[Pod]]:
    pods: dict[str, set[Pod]] = {}
    for sample in exposition.of(profile.used):
        values, uuid = sample.labels.values, _uuid(sample.labels, profile)
        for namespace, name in profile.pods:
            if uuid is not None and values.get(name):
                pods.setdefault(uuid, set()).add((values.get(namespace, ""), values[name]))
    return pods


def _uuid(labels: Labels, profile: DeviceProfile) -> str | None:
    uuid = next((each for name in profile.labels if (each := labels.values.get(name))), None)
    part = labels.values.get(profile.instance)
    return f"{uuid}/{part}" if uuid and part else uuid
