"""What replicas report: from the text of an exposition to rate, latency, p99 and GPU memory.

In come scraped texts and the time they were scraped at; out come `Reading` and `Window`.
"""

from controlplane.signals.exposition import ExpositionError
from controlplane.signals.histogram import Histogram, Resolution
from controlplane.signals.profile import Profile, Source, profile_of
from controlplane.signals.reading import GpuMemory, Reading, read
from controlplane.signals.window import WINDOW, History, Window

__all__ = [
    "WINDOW",
    "ExpositionError",
    "GpuMemory",
    "Histogram",
    "History",
    "Profile",
    "Reading",
    "Resolution",
    "Source",
    "Window",
    "profile_of",
    "read",
]
