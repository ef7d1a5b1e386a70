"""What replicas report: from the text of an exposition to rate, latency, p99 and GPU memory.

In come scraped texts and the time they were scraped at; out come `Reading` and `Window`.
"""

from controlplane.signals.batches import Batches, BatchTotals
from controlplane.signals.devices import Device, DeviceProfile, device_profile_of, read_devices
from controlplane.signals.fitting import Fit, fits
from controlplane.signals.histogram import Histogram, Resolution
from controlplane.signals.memory import GpuMemory
from controlplane.signals.profile import BatchFamilies, Latency, Memory, Profile, Source
from controlplane.signals.reading import Reading, read
from controlplane.signals.series import ExpositionError
from controlplane.signals.servers import PROFILES, profile_of
from controlplane.signals.window import WINDOW, History, Window

__all__ = [
    "PROFILES",
    "WINDOW",
    "BatchFamilies",
    "BatchTotals",
    "Batches",
    "Device",
    "DeviceProfile",
    "ExpositionError",
    "Fit",
    "GpuMemory",
    "Histogram",
    "History",
    "Latency",
    "Memory",
    "Profile",
    "Reading",
    "Resolution",
    "Source",
    "Window",
    "device_profile_of",
    "fits",
    "profile_of",
    "read",
    "read_devices",
]
