"""The xDS protocol without sockets: requests and snapshots in, responses out.

One subscription state serves every stream; who sends what first and what counts as acknowledged
is decided here, and `edges.xds_server` only moves the bytes.
"""
