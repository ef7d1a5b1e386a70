"""A program with a gRPC client: calls a target again and again, and prints what came of each call.

``python client.py TARGET MOST`` begins two hundred calls a second as long as at most so many are in
flight, and prints the answer of each, or the name of the status with which it failed, in a line.
"""

import asyncio
import sys

import grpc

METHOD = "/plimsoll.test.Embedder/Embed"
PAUSE = 0.005
"""Seconds between the beginnings of two calls."""


async def main(target: str, most: int) -> None:
    in_flight = asyncio.Semaphore(most)
    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as group:
        embed = channel.unary_unary(METHOD)

        async def call() -> None:
            try:
                print((await embed(b"a text", timeout=30)).decode(), flush=True)
            except grpc.aio.AioRpcError as error:
                print(error.code().name, error.details(), flush=True)
            finally:
                in_flight.release()

        while True:
            await in_flight.acquire()
            group.create_task(call())
            await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
