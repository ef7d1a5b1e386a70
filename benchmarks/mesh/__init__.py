"""What mutual TLS between Envoys costs: the same load through pools that differ in nothing else."""
