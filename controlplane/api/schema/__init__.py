"""What the control plane and its clients exchange: one set of models for both sides.

The server validates requests with these models, the client reads answers with them, and the OpenAPI
document is generated from them. Pure: no HTTP library is imported here.
"""
