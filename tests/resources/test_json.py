"""Resources as people read them have the names that Envoy's own JSON has."""

from controlplane.resources.messages import to_json
from controlplane.resources.resource import CLUSTER
from tests.fleet.fleets import a_pool
from tests.resources.decoded import catalog


def test_fields_are_named_as_in_protobufs_json() -> None:
    cluster, _ = catalog(a_pool(a=1)).pools["p"].resources[CLUSTER]
    ejection = to_json(CLUSTER, cluster)["outlierDetection"]
    assert ejection["consecutive5xx"] == 5
    assert ejection["baseEjectionTime"] == "1s"
