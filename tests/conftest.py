"""What holds for every test."""

import signal

from hypothesis import settings

# How long an example takes says more of the machine than of the code; speed is for benchmarks/.
settings.register_profile("plimsoll", deadline=None)
settings.load_profile("plimsoll")

# What runs in the background of a shell ignores Ctrl-C, and so would every program that tests start
# and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
