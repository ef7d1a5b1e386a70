"""What replicas report: from the text of an exposition to rate, latency, p99 and GPU memory.

In come scraped texts and the time they were scraped at; out come `Reading` and `Window`.
"""

from controlplane.telemetry.batches import Batches, BatchTotals
from controlplane.telemetry.devices import Device, device_profile_of, read_devices
from controlplane.telemetry.fitting import Fit, fits
from controlplane.telemetry.histogram import Histogram
from controlplane.telemetry.layouts import ExpositionError
from controlplane.telemetry.profile import Profile, Source
from controlplane.telemetry.reading import Reading, read
from controlplane.telemetry.servers import PROFILES, profile_of
from controlplane.telemetry.sums import GpuMemory
from controlplane.telemetry.window import WINDOW, History, Window
