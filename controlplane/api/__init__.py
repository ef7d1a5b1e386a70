"""The REST API: strict JSON over HTTP in, commands on the plane out, and its state as JSON.

`schema` holds the operations and models that server and client share. A request is checked by
`server`, handled by `handlers`, and shown by `views`. Every request is answered with a status and
one sentence, and changes nothing unless all of it is right. Users import `server` or `schema`: what
the server needs takes a second to load, and a client needs none of it.
"""
