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


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(target: str, most: int) -> None:
    in_flight = asyncio.Semaphore(most)
    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as group:
        embed: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

        async def call() -> None:
            try:
                _say((await embed(b"a text", timeout=120)).decode())
            except grpc.aio.AioRpcError as error:
                _say(f"{error.code().name} {error.details()}")
            finally:
                in_flight.release()

        while True:
            await in_flight.acquire()
            group.create_task(call())
            await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
