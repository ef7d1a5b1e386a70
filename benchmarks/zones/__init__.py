"""Real Envoys in three zones: what they send elsewhere, and what that does to p99."""
