"""GPUs as dcgm-exporter tells of them."""

import pytest

from controlplane.config import GpuSettings
from controlplane.telemetry import Device, ExpositionError, device_profile_of, read_devices
from tests.telemetry.test_servers import exposed

A, B, C = (
    "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52",
    "GPU-1c9a2b33-0000-4f1e-8a57-0b6f8f2a9d10",
    "GPU-77777777-2222-3333-4444-555555555555",
)
DCGM = device_profile_of(GpuSettings.model_validate({"addresses": ["10.0.0.1:9400"]}))


def devices(text: str | None = None) -> dict[str, Device]:
    return {device.uuid: device for device in read_devices(text or exposed("dcgm"), DCGM)}


def test_what_there_is_of_memory_is_used_and_free_and_reserved_in_mebibytes() -> None:
    memory = devices()[A].memory
    assert memory.total == (60000 + 20000 + 1000) * 2**20
    assert memory.used == 60000 * 2**20


def test_an_older_exporter_without_reserved_memory_is_read() -> None:
    text = exposed("dcgm").replace("DCGM_FI_DEV_FB_RESERVED", "OTHER")
    assert devices(text)[A].memory.fraction == 0.75


def test_without_free_memory_nothing_is_known() -> None:
    assert devices(exposed("dcgm").replace("DCGM_FI_DEV_FB_FREE", "OTHER")) == {}


def test_a_gpu_that_several_pods_share_counts_once_and_names_them_all() -> None:
    assert devices()[A].memory.used == 60000 * 2**20
    assert devices()[A].pods == {("search", "minilm-0"), ("search", "minilm-1")}


def test_a_part_of_a_gpu_has_memory_of_its_own() -> None:
    part = devices()[f"{C}/1"]
    assert part.memory.fraction == pytest.approx(29000 / 39500)
    assert part.pods == {("search", "mig-0")}
    assert C not in devices()


def test_a_value_that_dcgm_does_not_know_is_missing_and_no_memory_of_exabytes() -> None:
    assert f"{C}/2" not in devices()


def test_older_names_of_the_pod_labels_are_understood() -> None:
    text = exposed("dcgm").replace("namespace=", "pod_namespace=").replace(",pod=", ",pod_name=")
    assert devices(text)[B].pods == {("search", "reranker-0")}


def test_without_kubernetes_a_gpu_is_on_no_pod() -> None:
    text = f'DCGM_FI_DEV_FB_USED{{UUID="{A}",pod=""}} 1\nDCGM_FI_DEV_FB_FREE{{UUID="{A}"}} 3\n'
    assert devices(text) == {A: Device(A, devices(text)[A].memory)}
    assert devices(text)[A].memory.fraction == 0.25


def test_negative_memory_is_refused() -> None:
    with pytest.raises(ExpositionError, match="DCGM_FI_DEV_FB_FREE is negative"):
        devices(exposed("dcgm").replace("} 20000\n", "} -1\n"))


def test_an_error_page_is_no_exposition_of_gpus() -> None:
    with pytest.raises(ExpositionError, match="is no metric sample"):
        devices("<html>\n")


def exporter(name: str, text: str) -> dict[str, Device]:
    settings = GpuSettings.model_validate({"profile": name, "addresses": ["10.0.0.1:9400"]})
    return {device.uuid: device for device in read_devices(text, device_profile_of(settings))}


def test_with_the_old_namespace_the_labels_are_others_and_the_gpus_the_same() -> None:
    text = exposed("dcgm").replace("UUID=", "uuid=")
    assert devices(text) == devices()


def test_without_free_memory_the_total_says_what_there_is() -> None:
    lines = exposed("dcgm").replace("DCGM_FI_DEV_FB_FREE", "OTHER")
    text = f'{lines}DCGM_FI_DEV_FB_TOTAL{{UUID="{A}"}} 81920\n'
    assert devices(text)[A].memory.fraction == 60000 / 81920
    assert B not in devices(text)


AMD = """\
# HELP gpu_used_vram Used VRAM memory of the GPU (in MB)
# TYPE gpu_used_vram gauge
gpu_used_vram{gpu_id="0",namespace="search",pod="a",serial_number="S0"} 49152
gpu_used_vram{gpu_id="1",gpu_uuid="u1",namespace="",pod="",serial_number="S1"} 1024
gpu_total_vram{gpu_id="0",namespace="search",pod="a",serial_number="S0"} 196608
gpu_total_vram{gpu_id="1",gpu_uuid="u1",namespace="",pod="",serial_number="S1"} 196608
gpu_used_visible_vram{gpu_id="0",serial_number="S0"} 7
"""

SMI = """\
nvidia_smi_memory_used_bytes{uuid="604ac76c-d9cf-fef3-62e9-d92044ab6e52"} 2e+10
nvidia_smi_memory_total_bytes{uuid="604ac76c-d9cf-fef3-62e9-d92044ab6e52"} 8e+10
nvidia_smi_memory_free_bytes{uuid="604ac76c-d9cf-fef3-62e9-d92044ab6e52"} 5e+10
"""

XPU = """\
xpum_memory_used_bytes{dev_name="Max 1550",kube_namespace="search",kube_pod="a",uuid="0100"} 2e+10
xpum_memory_ratio{dev_name="Max 1550",kube_namespace="search",kube_pod="a",uuid="0100"} 0.25
"""

XPUMD = """\
hw_memory_usage_bytes{com_intel_subdevice_id="",hw_id="1234",hw_memory_location="device"} 4e+9
hw_memory_size_bytes{com_intel_subdevice_id="",hw_id="1234",hw_memory_location="device"} 1.6e+10
hw_memory_usage_bytes{com_intel_subdevice_id="",hw_id="1234",hw_memory_location="system"} 9e+10
"""

GAUDI = """\
habanalabs_memory_used_bytes{UUID="01P0-HL2",exported_namespace="search",exported_pod="a"} 2.5e+10
habanalabs_memory_total_bytes{UUID="01P0-HL2",exported_namespace="search",exported_pod="a"} 1e+11
"""

TPU = """\
memory_total{accelerator_id="42-4",container="c",make="cloud-tpu",namespace="search",pod="a"} 2e+11
memory_used{accelerator_id="42-4",container="c",make="cloud-tpu",namespace="search",pod="a"} 5e+10
memory_total_node{accelerator_id="42-5",make="cloud-tpu",model="tpu7x"} 2e+11
"""


@pytest.mark.parametrize(
    ("name", "text", "uuid", "pods"),
    [
        ("amd", AMD, "S0", {("search", "a")}),
        (
            "amd",
            AMD.replace("gpu_total", "x")
            .replace("gpu_used_visible", "gpu_free")
            .replace("} 7", "} 147456"),
            "S0",
            {("search", "a")},
        ),
        ("nvidia-smi", SMI, "604ac76c-d9cf-fef3-62e9-d92044ab6e52", set()),
        ("xpumanager", XPU, "0100", {("search", "a")}),
        ("xpumanager", XPU.replace("0.25", "25"), "0100", {("search", "a")}),
        ("xpumd", XPUMD, "1234", set()),
        ("habana", GAUDI, "01P0-HL2", {("search", "a")}),
        ("gke", TPU, "42-4", {("search", "a")}),
        (
            "habana",
            GAUDI.replace("total_bytes", "free_bytes").replace("1e+11", "7.5e+10"),
            "01P0-HL2",
            {("search", "a")},
        ),
    ],
)
def test_other_exporters_tell_of_their_gpus(
    name: str, text: str, uuid: str, pods: set[tuple[str, str]]
) -> None:
    found = exporter(name, text)[uuid]
    assert found.memory.fraction == 0.25
    assert found.pods == pods


def test_of_two_names_of_a_gpu_the_uuid_comes_first() -> None:
    assert set(exporter("amd", AMD)) == {"S0", "u1"}


OLD = f"""\
dcgm_fb_used{{gpu="0",uuid="{A}",pod_namespace="search",pod_name="a"}} 20000
dcgm_fb_free{{gpu="0",uuid="{A}",pod_namespace="search",pod_name="a"}} 60000
"""
TOTAL_AND_FREE = f"""\
DCGM_FI_DEV_FB_TOTAL{{UUID="{A}",namespace="search",pod="a"}} 80000
DCGM_FI_DEV_FB_FREE{{UUID="{A}",namespace="search",pod="a"}} 60000
"""
PART = f"""\
DCGM_FI_DEV_FB_USED{{UUID="{A}",namespace="search",pod="a"}} 20000
DCGM_FI_DEV_FB_USED_PERCENT{{UUID="{A}",namespace="search",pod="a"}} 0.25
"""
MINDPRINCE = f"""\
nvidia_gpu_memory_used_bytes{{minor_number="0",name="Tesla T4",uuid="{A}"}} 2e+10
nvidia_gpu_memory_total_bytes{{minor_number="0",name="Tesla T4",uuid="{A}"}} 8e+10
"""


@pytest.mark.parametrize(
    ("name", "text", "pods"),
    [
        pytest.param("dcgm", OLD, {("search", "a")}, id="dcgm-exporter 1.x"),
        pytest.param("dcgm", TOTAL_AND_FREE, {("search", "a")}, id="no used"),
        pytest.param("dcgm", PART, {("search", "a")}, id="a part and no total"),
        pytest.param("nvidia-smi", MINDPRINCE, set(), id="nvidia_gpu_prometheus_exporter"),
    ],
)
def test_exporters_of_other_releases_and_lists_of_counters_tell_as_much(
    name: str, text: str, pods: set[tuple[str, str]]
) -> None:
    found = exporter(name, text)[A]
    assert found.memory.fraction == 0.25
    assert found.pods == pods


def test_more_free_memory_than_there_is_is_refused() -> None:
    with pytest.raises(ExpositionError, match="FREE says that more is free than there is"):
        devices(TOTAL_AND_FREE.replace("80000", "50000"))


def test_a_percentage_of_one_gpu_is_one_of_all() -> None:
    text = XPU.replace("0.25", "25") + 'xpum_memory_ratio{uuid="0200"} 0.5\n'
    assert exporter("xpumanager", text)["0200"].memory.fraction == 0.005
