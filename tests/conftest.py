"""What holds for every test."""

from hypothesis import settings

# How long an example takes says more of the machine than of the code; speed is for benchmarks/.
settings.register_profile("plimsoll", deadline=None)
settings.load_profile("plimsoll")
