"""A long way to a server: every byte arrives later, none is held back by the one before it.

The kernel's own delay (netem) is a module that not every machine has. As a program: `distance.py ADDRESS PORT
MILLISECONDS` prints the local port that leads there.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HERE, CHUNK = "127.0.0.1", 1 << 16


@contextmanager
def distance(address: str, port: int, milliseconds: int) -> Iterator[int]:
    """A local port from which each round trip takes so much longer."""
    command = [sys.executable, __file__, address, str(port), str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def serve(address: str, port: int, seconds: float) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * seconds)  # the handshake of TCP
        far_reader, far_writer = await asyncio.open_connection(address, port)
        await asyncio.gather(one_way(reader, far_writer, seconds), one_way(far_reader, writer, seconds))

    server = await asyncio.start_server(carry, HERE, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    arriving = asyncio.create_task(arrive(under_way, writer))
    data = b"x"
    while data:
        try:
            data = await reader.read(CHUNK)
        except ConnectionError:
            data = b""
        under_way.put_nowait((asyncio.get_running_loop().time() + seconds, data))
    await arriving


async def arrive(under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if not data:
                break
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) / 2000))
