"""What tests of both protocols ask for."""

import pytest

from tests.xds.client import DeltaClient, SotwClient


@pytest.fixture(params=[DeltaClient, SotwClient], ids=["delta", "state of the world"])
def protocol(request: pytest.FixtureRequest) -> type[DeltaClient] | type[SotwClient]:
    """A client of either protocol."""
    found: type[DeltaClient] | type[SotwClient] = request.param
    return found
