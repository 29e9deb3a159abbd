"""The wire between a page and the server, to be cut in a test: a proxy of bytes on loopback.

It counts the WebSocket frames that the server sends, and nothing else: what the page gets is what
the server wrote. `target` may change, so that a server can be replaced by its successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.fakes.served import Served

_UPGRADED = b"HTTP/1.1 101"


class Wire(Served):
    """A port of loopback, `origin`, that leads to `target` until it is cut."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.frames = 0
        self._cut_after: int | None = None
        self._torn = False
        self._tasks: set[asyncio.Task[None]] = set()

    def cut_after(self, frames: int, *, torn: bool = False) -> None:
        """Cut the socket once, after that many more of the server's frames; `torn`: within one."""
        self.frames, self._cut_after, self._torn = 0, frames, torn

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen while the block runs."""
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connected(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        up = asyncio.create_task(self._pass(reader, ours))
        try:
            head = await theirs.readuntil(b"\r\n\r\n")
            writer.write(head)
            if head.startswith(_UPGRADED):
                await self._frames(theirs, writer)
            else:
                await self._pass(theirs, writer)
        except (OSError, EOFError):
            pass  # one of the two is gone
        finally:
            up.cancel()
            for each in (writer, ours):
                each.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            return

    async def _frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass whole frames on until the socket is to be cut; a server's are never masked."""
        while True:
            frame = await reader.readexactly(2)
            length = frame[1] & 0x7F
            if length > 125:
                more = await reader.readexactly(2 if length == 126 else 8)
                frame, length = frame + more, int.from_bytes(more)
            frame += await reader.readexactly(length)
            self.frames += 1
            cut = self.frames == self._cut_after
            writer.write(frame[: len(frame) // 2] if cut and self._torn else frame)
            await writer.drain()
            if cut:
                self._cut_after = None
                return
