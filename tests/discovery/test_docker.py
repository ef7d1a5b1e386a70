"""Replicas by labels on containers, asked of an engine over a real unix socket."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from controlplane.config import DockerSettings, validated
from controlplane.discovery import Found, SourceError
from controlplane.discovery import docker as docker_source
from controlplane.discovery.docker import DockerSource
from tests.discovery.engine import Engine, engine
from tests.processes import DEADLINE, until


@pytest.fixture
async def docker(tmp_path: Path) -> AsyncIterator[Engine]:
    async with engine(tmp_path / "docker.sock") as running:
        yield running


def sets(docker: Engine, **settings: Any) -> AsyncGenerator[Found, None]:
    data = {"socket": f"unix://{docker.path}", "label": "plimsoll.pool=m", **settings}
    return DockerSource(validated(DockerSettings, data)).sets()


async def look(docker: Engine, **settings: Any) -> Found:
    async with aclosing(sets(docker, **settings)) as answers:
        return await anext(answers)


async def problem(docker: Engine, **settings: Any) -> str:
    """Of the only container, which cannot be used."""
    found = await look(docker, **settings)
    assert found.replicas == {}
    assert found.problem is not None
    return found.problem


async def test_a_running_container_with_the_label_is_a_replica(docker: Engine) -> None:
    docker.run("tei-1")
    docker.run("tei-2", "172.17.0.3", port="9000", slots="4", region="eu", zone="a", gpu="GPU-1")
    found = await look(docker)
    assert found.problem is None
    one, two = found.replicas["tei-1"], found.replicas["tei-2"]
    assert (str(one.address), one.slots, one.gpu) == ("172.17.0.2:8080", None, None)
    assert (str(two.address), two.slots) == ("172.17.0.3:9000", 4)
    assert two.gpu is not None
    assert (two.gpu.uuid, two.locality.region, two.locality.zone) == ("GPU-1", "eu", "a")


async def test_containers_of_another_pool_and_those_that_stand_still_are_none(
    docker: Engine,
) -> None:
    docker.run("other", pool="q")
    docker.run("paused")["State"]["Status"] = "paused"
    assert await look(docker) == Found({})


async def test_a_container_that_is_started_again_is_another_instance(docker: Engine) -> None:
    container = docker.run("tei")
    first = (await look(docker)).replicas["tei"]
    container["State"]["StartedAt"] = "2026-01-02T00:00:00Z"
    again = (await look(docker)).replicas["tei"]
    assert (first.address, first.instance) != (again.address, again.instance)
    assert first.address == again.address


async def test_the_address_is_that_of_the_network_asked_for(docker: Engine) -> None:
    networks = docker.run("tei")["NetworkSettings"]["Networks"]
    networks["front"] = {"IPAddress": "10.1.0.2", "GlobalIPv6Address": ""}
    assert "is in networks bridge, front: say which" in await problem(docker)
    assert str((await look(docker, network="front")).replicas["tei"].address) == "10.1.0.2:8080"
    assert "no address in network back" in await problem(docker, network="back")
    docker.run("tei", network="bridge")["NetworkSettings"]["Networks"] = networks
    found = await look(docker, network="front")
    assert str(found.replicas["tei"].address) == "172.17.0.2:8080"


async def test_a_network_with_ipv6_alone_will_do(docker: Engine) -> None:
    networks = docker.run("tei")["NetworkSettings"]["Networks"]
    networks["bridge"] = {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}
    assert str((await look(docker)).replicas["tei"].address) == "[fd00::2]:8080"


async def test_a_container_in_the_hosts_network_says_its_address(docker: Engine) -> None:
    docker.run("tei", "")
    assert "set the label plimsoll.address" in await problem(docker)
    docker.run("tei", "", address="10.0.0.5")
    assert str((await look(docker)).replicas["tei"].address) == "10.0.0.5:8080"


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"port": "http"}, "label plimsoll.port must be a whole number, not 'http'"),
        ({"slots": "0"}, "label plimsoll.slots must be a whole number, not '0'"),
        ({"prot": "80"}, "label plimsoll.prot is unknown; known are"),
        ({"address": "169.254.169.254"}, "link-local"),
        ({"address": "example.com"}, "is a name"),
        ({"zone": "a b"}, "locality.zone"),
    ],
)
async def test_labels_that_are_wrong_leave_the_container_out_and_are_told(
    docker: Engine, labels: dict[str, str], says: str
) -> None:
    docker.run("tei", **labels)
    sentence = await problem(docker)
    assert sentence.startswith("container tei is not used: ")
    assert says in sentence


async def test_the_port_is_the_labels_the_settings_or_the_only_one_of_the_image(
    docker: Engine,
) -> None:
    docker.run("tei")["Config"]["ExposedPorts"] = {"80/tcp": {}, "90/tcp": {}, "53/udp": {}}
    assert "its image exposes 2 TCP ports" in await problem(docker)
    assert (await look(docker, port=90)).replicas["tei"].address.port == 90


async def test_one_container_that_cannot_be_used_hinders_no_other(docker: Engine) -> None:
    docker.run("bad", port="x")
    docker.run("good")
    assert list((await look(docker)).replicas) == ["good"]


async def test_a_container_that_is_gone_before_it_is_inspected_is_none(docker: Engine) -> None:
    docker.run("tei")["is gone"] = True
    assert await look(docker) == Found({})


async def test_a_container_that_has_stopped_before_it_is_inspected_is_none(docker: Engine) -> None:
    docker.run("tei", "")["exits"] = True
    assert await look(docker) == Found({})


async def test_a_name_too_long_for_an_id_is_replaced_by_the_containers_own(docker: Engine) -> None:
    container = docker.run("x" * 64)
    assert list((await look(docker)).replicas) == [container["Id"][:12]]


async def test_an_event_has_the_containers_listed_anew(docker: Engine) -> None:
    async with aclosing(sets(docker, interval="60s")) as answers, asyncio.timeout(DEADLINE):
        assert await anext(answers) == Found({})
        docker.run("tei")
        await until("the events are watched", lambda: _same(docker.watched, 1))
        await docker.emit("start")
        assert list((await anext(answers)).replicas) == ["tei"]


async def test_events_that_come_together_have_the_containers_listed_once(
    docker: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_source, "GATHER_SECONDS", 1.0)
    async with aclosing(sets(docker, interval="60s")) as answers, asyncio.timeout(DEADLINE):
        await anext(answers)
        await until("the events are watched", lambda: _same(docker.watched, 1))
        following = asyncio.ensure_future(anext(answers))
        for action in ("start", "start", "connect"):
            await docker.emit(action)
        await following
        another = asyncio.ensure_future(anext(answers))
        await asyncio.sleep(0.1)
        assert (docker.listings, another.done()) == (2, False)
        another.cancel()
        await asyncio.gather(another, return_exceptions=True)


async def test_containers_are_listed_again_without_an_event_too(docker: Engine) -> None:
    async with aclosing(sets(docker, interval="20ms")) as answers, asyncio.timeout(DEADLINE):
        await anext(answers)
        docker.run("tei")
        assert list((await anext(answers)).replicas) == ["tei"]


async def test_an_engine_that_ends_its_events_has_failed(docker: Engine) -> None:
    async with aclosing(sets(docker, interval="60s")) as answers, asyncio.timeout(DEADLINE):
        await anext(answers)
        docker.stop()
        with pytest.raises(SourceError, match="has ended its stream of events"):
            await anext(answers)


async def test_an_engine_that_answers_an_error_is_no_empty_one(docker: Engine) -> None:
    docker.status = 500
    with pytest.raises(SourceError, match="GET /containers/json of the engine answered 500"):
        await look(docker)


async def test_a_socket_that_is_not_there_is_no_empty_engine(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot connect to .*nothing\.sock: No such file"):
        await look(Engine(tmp_path / "nothing.sock"))


async def test_an_engine_that_does_not_answer_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_source, "ANSWER_SECONDS", 0.2)

    hung = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        await hung.wait()
        writer.close()

    async with await asyncio.start_unix_server(silent, tmp_path / "docker.sock"):
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(SourceError, match="did not answer in time"):
                await look(Engine(tmp_path / "docker.sock"))
        hung.set()


async def _same(one: object, other: object) -> bool:
    return one == other
