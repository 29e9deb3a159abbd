"""The bare relay: what any server must at least do between a model endpoint and a WebSocket.

It posts the prompt and copies each piece of the event stream into a frame, unread. The difference
to it is what a server adds.
"""

from __future__ import annotations

import argparse
import asyncio

import aiohttp
import uvloop
from aiohttp import web


def create_app(base_url: str) -> web.Application:
    """Return the application; prompts are text frames on `/chats/{chat_id}`."""
    app = web.Application()

    async def chat(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        session: aiohttp.ClientSession = app["session"]
        async for message in socket:
            body = {"model": "gpt-bench", "input": message.data, "stream": True}
            async with session.post(
                f"{base_url}/responses", json=body, headers={"Authorization": "Bearer bench"}
            ) as response:
                async for piece in response.content.iter_any():
                    await socket.send_bytes(piece)
            await socket.send_str('{"type":"end_of_stream"}')
        return socket

    async def session(app: web.Application):  # type: ignore[no-untyped-def]
        app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        yield
        await app["session"].close()

    app.router.add_get("/chats/{chat_id}", chat)
    app.cleanup_ctx.append(session)
    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    web.run_app(
        create_app(options.upstream),
        host="127.0.0.1",
        port=options.port,
        backlog=4096,
        print=None,
        access_log=None,
    )


if __name__ == "__main__":
    main()
