"""How expositions are asked for that are not for everybody: https, and credentials from files."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from controlplane.config.errors import SettingsError
from controlplane.config.tls import DnsName
from controlplane.config.values import Settings

File = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
"""A path, relative to the config file. What it holds is read again when it changes."""


class AccessSettings(Settings):
    """How one kind of exposition is asked for.

    Attributes:
        scheme: ``https`` checks the certificate.
        ca_file: The certificates that are trusted; by default those of this machine.
        server_name: That the certificate is of; by default the address that is asked.
        bearer_file: Holds the token of ``Authorization: Bearer``.
        username: Of ``Authorization: Basic``.
        password_file: Holds the password that goes with it.
    """

    scheme: Literal["http", "https"] = "http"
    ca_file: File | None = None
    server_name: DnsName | None = None
    bearer_file: File | None = None
    username: Annotated[str, Field(pattern=r"^[\x21-\x39\x3b-\x7e]{1,256}$")] | None = None
    password_file: File | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for key in ("ca_file", "server_name"):
            if self.scheme != "https" and getattr(self, key) is not None:
                raise SettingsError(f"{key} goes with scheme: https", (key,))
        if (self.username is None) != (self.password_file is None):
            raise SettingsError("username and password_file go together", ("username",))
        if self.bearer_file is not None and self.username is not None:
            raise SettingsError(
                "bearer_file and username exclude each other: a request has one Authorization",
                ("bearer_file",),
            )
        return self


class ScrapingSettings(Settings):
    """How the expositions of a pool are asked for. Not for the API to set: it names files.

    Attributes:
        replicas: Those of its replicas.
        exporters: Those of the exporters of GPU memory that it names.
    """

    replicas: AccessSettings | None = None
    exporters: AccessSettings | None = None
