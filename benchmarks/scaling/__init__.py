"""How autoscalers do on loads that change, in simulated time: late requests and replica-hours.

In come shapes of load, autoscalers and seeds; out comes a table. The replicas are servers that
compute batches, as text-embeddings-inference does, behind one queue. Run
``python -m benchmarks.scaling``.
"""
