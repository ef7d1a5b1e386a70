"""An OpenAI-compatible embedding server that computes real embeddings on a CPU.

Texts come in over HTTP; ``tokens`` and ``bert`` turn them into vectors, ``engine`` decides when a
slot and the memory for it are free, ``server`` speaks HTTP and ``metrics`` says how it went, under
the names that text-embeddings-inference uses. It knows nothing of the control plane.
"""
