"""Asks replicas and exporters what they report, each at its interval, as long as they are there.

`scraper.py` has a task for each of them, `scrape.py` is one question with all that can go wrong,
and below that is as much of HTTP as it takes.
"""
