"""What holds for every test."""

import signal

from hypothesis import settings

# How long an example takes says more of the machine than of the code; speed is for benchmarks/.
# A commit has the same examples in every run, so none fails by chance; others are tried with
# --hypothesis-profile=explore.
settings.register_profile("plimsoll", deadline=None, derandomize=True, max_examples=20)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("plimsoll")

# What runs in the background of a shell ignores Ctrl-C, and so would every program that tests start
# and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
