"""What replicas report: from the text of an exposition to rate, latency, p99 and GPU memory.

In come scraped texts and the time they were scraped at; out come `Reading` and `Window`.
"""
