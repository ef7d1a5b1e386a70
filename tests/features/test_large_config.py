"""A config file of thousands of replicas is taken in while the control plane answers others."""

from pathlib import Path

from tests.processes import Plimsoll, serving, until

REPLICAS = 2000


def pool(concurrency: int) -> dict[str, object]:
    """A pool of replicas at which nobody listens."""
    return {
        "name": "p",
        "model": "m",
        "listener": {"address": "127.0.0.1:9"},
        "metrics": {"profile": "none", "interval": "60s"},
        "replicas": [
            {"id": f"r{i}", "address": f"127.0.{i // 250}.{i % 250 + 1}:1", "slots": concurrency}
            for i in range(REPLICAS)
        ],
    }


def cpu(plane: Plimsoll) -> float:
    """Seconds of CPU that the event loop has taken, however busy the machine is."""
    spent = Path(f"/proc/{plane.pid}/task/{plane.pid}/schedstat").read_text()
    return int(spent.split()[0]) / 1e9


async def test_no_answer_waits_for_a_large_config_file(tmp_path: Path) -> None:
    async with serving(tmp_path, [pool(1)]) as plane:

        async def is_ready() -> bool:
            return await plane.get("/readyz") is not None

        await until("all replicas have been asked once", is_ready)
        file, beside = tmp_path / "plimsoll.yaml", tmp_path / "new"
        beside.write_text(file.read_text().replace("slots: 1", "slots: 2"))
        beside.replace(file)
        # The CPU of all work, and of the most that is done across one answer.
        begun, longest, after = cpu(plane), 0.0, 0
        while after < 100:
            asked = cpu(plane)
            found = await plane.get(f"/v1/pools/p/replicas/r{REPLICAS - 1}")
            longest = max(longest, cpu(plane) - asked)
            after += found["slots"] == 2
        assert longest < (cpu(plane) - begun) / 4
