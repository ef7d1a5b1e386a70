"""What is used beside a running control plane: a load generator and a demonstration.

Both talk to the control plane and to Envoys only over HTTP, as any client does. Nothing else in
``controlplane`` imports this package; the command line loads its commands by name.
"""
