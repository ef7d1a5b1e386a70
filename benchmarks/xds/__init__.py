"""What the xDS server costs: ours beside another way to do the same, in one run.

Each module measures one thing and can be run alone; `run` gives its figures.
"""
