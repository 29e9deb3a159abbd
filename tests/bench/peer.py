"""The peer: a chat server as the Agents SDK's and FastAPI's documentation would have it.

FastAPI under uvicorn with uvloop, a WebSocket for each chat, `Runner.run_streamed` with the SDK's
default Responses model, one frame for each delta. The agent carries every tool of our registry and
is built once. Nothing is stored, sealed, replayed or resumed: it does less than we do.
"""

from __future__ import annotations

import argparse
from typing import Any

import openai
import uvicorn
from agents import Agent, FunctionTool, OpenAIResponsesModel, RunConfig, Runner
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from common.tools import Registry


async def _unused(_: Any, arguments: str) -> str:
    return arguments


def create_app(base_url: str) -> FastAPI:
    """Return the application; prompts are text frames on `/chats/{chat_id}`."""
    tools = [
        FunctionTool(
            name=tool.name,
            description=tool.description,
            params_json_schema=tool.parameters.schema,
            on_invoke_tool=_unused,
        )
        for tool in Registry.discover().tools.values()
    ]
    # In its favour: with the client's own five seconds to connect, hundreds of prompts at the same
    # moment fail, as the loop is too busy to finish the handshakes.
    client = openai.AsyncOpenAI(base_url=base_url, api_key="bench", timeout=openai.Timeout(900.0))
    agent = Agent(
        name="ODAI",
        instructions="You are a personal assistant. Answer briefly.",
        tools=list(tools),
        model=OpenAIResponsesModel("gpt-bench", client),
    )
    config = RunConfig(tracing_disabled=True)
    app = FastAPI()

    @app.websocket("/chats/{chat_id}")
    async def chat(socket: WebSocket, chat_id: str) -> None:
        await socket.accept()
        history: list[Any] = []
        try:
            while True:
                history.append({"role": "user", "content": await socket.receive_text()})
                result = Runner.run_streamed(agent, history, run_config=config)
                async for event in result.stream_events():
                    if event.type != "raw_response_event":
                        continue
                    if event.data.type == "response.output_text.delta":
                        frame = {
                            "type": "raw_response_event",
                            "chat_id": chat_id,
                            "delta": event.data.delta,
                            "current_agent": "ODAI",
                        }
                        await socket.send_json(frame)
                history = result.to_input_list()
                await socket.send_json({"type": "end_of_stream", "chat_id": chat_id})
        except WebSocketDisconnect:
            return

    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    uvicorn.run(
        create_app(options.upstream),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        # In its favour: with uvicorn's own pings it loses sockets once hundreds stream at a time.
        ws_ping_interval=None,
        log_level="warning",
        backlog=4096,
    )


if __name__ == "__main__":
    main()
