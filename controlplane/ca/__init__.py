"""The built-in certificate authority: its folder, what it signs, and the leaf of each node.

In come a trust domain, requests and the time; out come certificates, and the secrets of Envoys.
"""
