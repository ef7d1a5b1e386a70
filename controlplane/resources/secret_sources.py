"""Where an Envoy gets its certificate and its roots from, as its node's metadata says."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3

from controlplane.config import shown
from controlplane.resources.bootstrap_tls import IDENTITY, ROOTS, spire_secret

MAX_PATH: Final = 4_096

SecretName: TypeAlias = Literal["identity", "roots"]


class SecretSource(NamedTuple):
    """Where an Envoy's secrets come from.

    Attributes:
        certificate: The file, on the machine of the Envoy, that describes its certificate as an
            SDS response; empty: the control plane sends it.
        roots: The same of its roots.
        spire: Whether a SPIRE agent on the machine of the Envoy sends both instead.
    """

    certificate: str = ""
    roots: str = ""
    spire: bool = False

    @classmethod
    def in_folder(cls, folder: str) -> "SecretSource":
        """The files that `bootstrap_tls.secret_files` describes, in an absolute folder."""
        path = PurePosixPath(folder)
        return cls(str(path / f"{IDENTITY}.json"), str(path / f"{ROOTS}.json"))

    def to_metadata(self) -> dict[str, Any]:
        """What a bootstrap says of it, and `secret_source` reads."""
        if self.spire:
            return {"source": "spire"}
        if not self.certificate:
            return {"source": "ads"}
        return {"source": "files", "certificate": self.certificate, "roots": self.roots}

    def secret(self, name: SecretName) -> tls_v3.SdsSecretConfig:
        """What tells the Envoy where a secret is."""
        if self.spire:
            return tls_v3.SdsSecretConfig.from_dict(spire_secret(name))
        config = core_v3.ConfigSource(resource_api_version=core_v3.ApiVersion.V3)
        if not self.certificate:
            config.ads = core_v3.AggregatedConfigSource()
        else:
            path = self.certificate if name == IDENTITY else self.roots
            folder = str(PurePosixPath(path).parent)
            # Without the folder Envoy would not see a file that another takes the place of by way
            # of a symbolic link, as orchestrators replace what they mount.
            config.path_config_source = core_v3.PathConfigSource(
                path=path, watched_directory=core_v3.WatchedDirectory(path=folder)
            )
        return tls_v3.SdsSecretConfig(name=name, sds_config=config)


ADS: Final = SecretSource()
"""From the control plane."""

SPIRE: Final = SecretSource(spire=True)
"""From a SPIRE agent."""


def secret_source(data: object, key: str) -> SecretSource | None:
    """Read where an Envoy's secrets come from; None where it has none.

    Args:
        data: From the metadata of a node.
        key: Its name, for errors.

    Raises:
        ValueError: With one sentence, when it cannot be understood.
    """
    if data is None:
        return None
    kind = data.get("source") if isinstance(data, Mapping) else data
    if kind == "ads":
        return ADS
    if kind == "spire":
        return SPIRE
    if kind != "files" or not isinstance(data, Mapping):
        raise ValueError(f"{key}.source must be ads, files or spire, not {shown(kind)}")
    certificate, roots = (_path(data.get(it), f"{key}.{it}") for it in ("certificate", "roots"))
    return SecretSource(certificate, roots)


def _path(text: object, key: str) -> str:
    if (
        not isinstance(text, str)
        or not text.startswith("/")
        or not text.isprintable()
        or len(text) > MAX_PATH
    ):
        raise ValueError(f"{key} must be the absolute path of a file")
    return text
