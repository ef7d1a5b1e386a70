"""Waiting for proxies that cannot be asked for anything but what is behind them."""

from collections.abc import Sequence
from pathlib import Path

import aiohttp

from tests.processes import until


async def all_answer(ports: Sequence[int], folder: Path) -> None:
    """Wait until a request gets through each of these ports."""
    async with aiohttp.ClientSession(trust_env=False) as session:

        async def answer() -> bool:
            for port in ports:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/health") as response:
                        if response.status != 200:
                            return False
                except aiohttp.ClientError:
                    return False
            return True

        await until(f"all proxies answer; see {folder}", answer)
