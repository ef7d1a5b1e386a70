"""Classes that a user names: who serves which, by prediction."""

import math
from dataclasses import replace

import numpy as np
import pytest

from controlplane.balancing import ENVOYS, Decision, InFlight, ReplicaInput, Table, decide
from controlplane.balancing.demand import Demand
from controlplane.balancing.division import Division, Given, divided
from controlplane.balancing.fleet import Fleet, fleet_of
from controlplane.balancing.prediction import Flow
from controlplane.config import PoolSettings
from controlplane.telemetry import Histogram, History, Reading
from controlplane.telemetry.sizes import Sizes

SEARCH = Flow(rate=60.0, mean=16.0, square=256.0, long=16.0)
NIGHTLY = Flow(rate=5.0, mean=2_000.0, square=4e6, long=2_000.0)
NOTICE = 2.0


def fleet(count: int = 8, *, without: str = "") -> Fleet:
    """Batching replicas of 2,700 tokens per second."""
    ids = [f"r{index}" for index in range(count) if f"r{index}" != without]
    many = len(ids)
    return fleet_of(
        ids,
        np.full(many, 2_700.0),
        np.full(many, 0.03),
        np.full(many, 2_048.0),
        np.ones(many),
        np.ones(many, np.bool_),
    )


def after(
    flows: dict[str, Flow],
    before: Division | None = None,
    now: float = 0.0,
    *,
    of: Fleet | None = None,
    objectives: dict[str, float] | None = None,
) -> Division:
    demand = Demand(flows, objectives=objectives or {})
    given = Given(of or fleet(), demand, None, {}, 4, NOTICE, now)
    return divided(before or Division(begun=now + NOTICE), given)


def test_each_class_has_replicas_of_its_own_and_every_replica_a_class() -> None:
    found = after({"": SEARCH, "nightly": NIGHTLY})
    ids = fleet().ids
    searches, nightly = (found.members(name, ids) for name in ("", "nightly"))
    assert searches.any()
    assert nightly.any()
    assert (searches != nightly).all()


def test_a_replica_that_joins_serves_the_class_with_the_longest_requests() -> None:
    found = after({"": SEARCH, "nightly": NIGHTLY})
    assert found.members("nightly", ["new"]).all()
    assert not found.members("", ["new"]).any()


def test_the_class_with_more_work_has_more_replicas() -> None:
    found = after({"": SEARCH, "nightly": NIGHTLY})
    assert found.rest == "nightly"
    assert 0 < len(found.sets[""]) < len(fleet().ids) / 2


def test_requests_go_by_class_once_envoys_have_checked_the_new_clusters() -> None:
    found = after({"": SEARCH, "nightly": NIGHTLY}, now=10.0)
    assert not found.is_in_force(10.0 + NOTICE - 0.1)
    assert found.is_in_force(10.0 + NOTICE)


def test_a_class_without_requests_has_no_replicas_of_its_own() -> None:
    assert after({"": SEARCH}).sets == {}


def test_one_replica_serves_all_classes() -> None:
    assert after({"": SEARCH, "nightly": NIGHTLY}, of=fleet(1)).sets == {}


def test_more_classes_than_replicas_share_them() -> None:
    flows = dict.fromkeys(("", "a", "b"), SEARCH)
    assert after(flows, of=fleet(2)).sets == {}


def test_where_all_replicas_have_too_much_to_do_the_longest_requests_get_what_is_left() -> None:
    flood = Flow(rate=20.0, mean=2_000.0, square=4e6, long=2_000.0)
    found = after({"": SEARCH, "nightly": flood})
    assert found.rest == "nightly"
    own = fleet().of(found.members("", fleet().ids))
    assert SEARCH.tokens < 0.9 * float(own.capacity.sum())


def test_a_tight_objective_gets_its_class_more_replicas() -> None:
    flows = {"": SEARCH, "nightly": NIGHTLY}
    for_searches = after(flows, objectives={"": 0.03, "nightly": 30.0}).sets
    for_nightly = after(flows, objectives={"": 30.0, "nightly": 1.5}).sets
    assert len(for_nightly[""]) < len(for_searches[""])


def test_when_the_last_replica_of_a_class_is_gone_it_has_others_at_once() -> None:
    flows = {"": SEARCH, "nightly": NIGHTLY}
    flows["nightly"] = replace(NIGHTLY, rate=1.5)
    first = after(flows, of=fleet(3))
    lost = first.sets[""]
    rest = fleet(8)
    found = after(flows, first, 0.5, of=rest.of(np.asarray([id_ not in lost for id_ in rest.ids])))
    assert found.sets[""]
    assert not found.sets[""] & lost


def test_a_better_division_waits_until_it_has_lasted() -> None:
    first = after({"": SEARCH, "nightly": NIGHTLY})
    busy = {"": Flow(140.0, 16.0, 256.0, 16.0), "nightly": replace(NIGHTLY, rate=2.0)}
    found, changed_at = first, math.inf
    for second in range(1, 60):
        found = after(busy, found, float(second))
        if found.sets != first.sets:
            changed_at = float(second)
            break
    assert 20 <= changed_at < math.inf


def test_replicas_that_change_their_class_first_finish_what_they_have() -> None:
    first = after({"": SEARCH, "nightly": NIGHTLY})
    busy = {"": replace(SEARCH, rate=300.0), "nightly": replace(NIGHTLY, rate=1.0)}
    found = after(busy, first, 30.0)
    new = found.sets[""] - first.sets[""]
    assert new
    assert {id_ for id_, at in found.joined.items() if at == 30.0} == new


def test_named_classes_stay_apart_however_much_waits() -> None:
    flows = {"": SEARCH, "nightly": NIGHTLY}
    found = after(flows)
    for second in range(1, 30):
        given = Given(fleet(), Demand(flows), None, {"nightly": 1e9}, 4, NOTICE, float(second))
        found = divided(found, given)
        assert found.sets


def _decided(seconds: int) -> tuple[Decision, list[str]]:
    """A pool with a class by header, and requests of both classes."""
    settings = PoolSettings.model_validate(
        {
            "model": "m",
            "listener": {"address": "127.0.0.1:10000"},
            "classes": [{"name": "nightly", "match": {"header": {"name": "x-job", "value": "n"}}}],
        }
    )
    ids = [f"r{index}" for index in range(6)]
    sizes = {"": Sizes(), "nightly": Sizes()}
    table, decision = Table(), None
    histories = {id_: History() for id_ in ids}
    for second in range(seconds):
        sizes[""].add((110,) * 20, float(second))
        sizes["nightly"].add((8_100,) * 4, float(second))
        for id_ in ids:
            ended = {"": 20.0 * second, "nightly": 0.5 * second}
            count = InFlight(ENVOYS, 1.0, float(second), by_class={}, ended=ended)
            done = 20.0 * second
            reading = Reading(
                second, Histogram((math.inf,), (done,), 0.02 * done), tokens=60 * done
            )
            window = histories[id_].add(reading)
            table.put(
                ReplicaInput(id_, 4, window=window, scraped_at=float(second), in_flight=(count,))
            )
        decision = decide(decision, settings, table, float(second), envoys=4, class_sizes=sizes)
    assert decision is not None
    return decision, ids


def test_a_pool_with_named_classes_says_who_serves_each() -> None:
    decision, ids = _decided(12)
    served = {
        each.title: {id_ for id_ in ids if each.weights[decision.rows[id_]] > 0}
        for each in decision.classes
    }
    assert served.keys() == {"nightly", "default"}
    assert served["nightly"]
    assert served["default"]
    assert not served["nightly"] & served["default"]


@pytest.mark.parametrize("id_", ["r0", "r5"])
def test_a_replica_says_which_classes_it_serves(id_: str) -> None:
    decision, _ = _decided(12)
    replica = decision.replicas[id_]
    words = " ".join(step.words for step in replica.steps)
    (own,) = replica.classes
    assert f"Serves {own}" in words


def test_a_class_through_one_gateway_is_predicted_to_wait_less() -> None:
    demand = Demand({"": SEARCH, "nightly": NIGHTLY})
    blind = Given(fleet(), demand, None, {}, 12, NOTICE, 0.0)
    before = Division(begun=NOTICE)
    usual = divided(before, blind)
    through = divided(before, blind._replace(gateways={"nightly": 1}))
    assert through.together == usual.together
    assert through.forecasts["nightly"] < 0.9 * usual.forecasts["nightly"]
