"""Whatever happens, a client ends with what it should hold, and is never led astray before."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.xds import Node
from tests.xds.client import ENVOY, DeltaClient, SotwClient
from tests.xds.reference import Reference
from tests.xds.wanted import WILDCARD
from tests.xds.world import BAD, NAMES, World

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
CHANGES = st.tuples(
    st.sampled_from(TYPES),
    st.integers(0, 2),
    st.sampled_from(["good", "good", "good", BAD, "back", "removed"]),
)

PICKED = st.lists(st.integers(0, 3), unique=True, max_size=3)


def names(url: str, picked: list[int]) -> list[str]:
    every = [*NAMES[url], WILDCARD]
    return list(dict.fromkeys(every[item % len(every)] for item in picked))


class StreamState(RuleBasedStateMachine):
    """A client, a server and a world that changes, each at its own pace."""

    protocol: type[DeltaClient] | type[SotwClient]
    node = ENVOY

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.client = Reference(self.protocol, self.world, self.node)

    @rule(steps=st.lists(CHANGES, min_size=1, max_size=5))
    def the_world_changes(self, steps: list[tuple[str, int, str]]) -> None:
        self.world.change(steps)

    @rule(step=CHANGES)
    def one_thing_changes_after_all_is_said(self, step: tuple[str, int, str]) -> None:
        # This is how it nearly always is, and what streams that are alike share.
        self.client.settle()
        self.world.change([step])
        self.client.pull()

    @rule()
    def an_envoy_starts(self) -> None:
        for url in TYPES:
            if url not in self.client.types:
                self.client.subscribe(url, () if url in (CLUSTER, LISTENER) else NAMES[url])

    @rule(url=st.sampled_from(TYPES), picked=PICKED)
    def it_wants_more(self, url: str, picked: list[int]) -> None:
        self.client.subscribe(url, names(url, picked))

    @precondition(lambda self: self.client.types)
    @rule(url=st.sampled_from(TYPES), picked=PICKED)
    def it_wants_less(self, url: str, picked: list[int]) -> None:
        if url in self.client.types and picked:
            self.client.unsubscribe(url, names(url, picked))

    @rule(responses=st.integers(1, 3))
    def the_server_sends(self, responses: int) -> None:
        for _ in range(responses):
            self.client.pull()

    @precondition(lambda self: self.client.inbox)
    @rule(names_bad=st.booleans())
    def the_client_answers(self, *, names_bad: bool) -> None:
        self.client.answer(names_bad=names_bad)

    @precondition(lambda self: self.client.types)
    @rule(
        url=st.sampled_from(TYPES),
        nonce=st.integers(0, 5),
        error=st.sampled_from([None, "no", "a: bad"]),
    )
    def the_client_speaks_out_of_turn(self, url: str, nonce: int, error: str | None) -> None:
        if url in self.client.types:
            spoken = [*self.client.nonces[url], "", "never sent"]
            self.client.send(url, nonce=spoken[-1 - nonce % len(spoken)], error=error)

    @rule(order=st.permutations(TYPES))
    def the_stream_breaks(self, order: list[str]) -> None:
        self.client.reconnect(order)

    @rule()
    def all_is_said(self) -> None:
        self.client.settle()
        self.client.check()

    def teardown(self) -> None:
        self.all_is_said()


class DeltaConversation(StreamState):
    protocol = DeltaClient


class SotwConversation(StreamState):
    protocol = SotwClient


class OtherConversation(StreamState):
    """With a client that takes what it can of a response and does not say what."""

    protocol = SotwClient
    node = Node("client-1", user_agent="gRPC Python")


TestDelta = DeltaConversation.TestCase
TestStateOfTheWorld = SotwConversation.TestCase
TestOtherClient = OtherConversation.TestCase
TestDelta.settings = TestStateOfTheWorld.settings = TestOtherClient.settings = settings(
    max_examples=12, stateful_step_count=30
)
