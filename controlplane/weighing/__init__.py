"""How much each replica gets: from what it reports to a capacity, a tier, a weight and why.

In come windows of readings and the time; out comes a `Weighing` of a pool, explained step by step.
"""
