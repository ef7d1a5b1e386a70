"""Certificates, SPIFFE ids, and which node may be served what. Pure: bytes and times come in.

`admission` reads and checks PEM, and says who a client is and what it may have.
"""

from controlplane.identity.admission import (
    Admission,
    CertificateError,
    Credentials,
    Identity,
    NotAdmittedError,
    Revoked,
    checked,
    longest_match,
    name_of,
    none_revoked,
    read_certificate,
)
