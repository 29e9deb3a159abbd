"""What is a user's own beside their chats' turns: usage, memories, schedules, history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Response, request

from common.assistant.schedules import DUE_PATH
from common.identity import Identity
from common.web import audit_pages, history_pages, memory_pages, schedule_pages, usage_pages
from common.web.endpoint import signed_in

if TYPE_CHECKING:
    from common.bootstrap import Services


def mount_mine(app: Flask, services: Services) -> None:
    """Give `app` these routes; all but the queue's need the signed-in user's token."""

    def user() -> Identity:
        return signed_in(request, services)

    @app.get("/audit")
    def acts() -> Response:
        return audit_pages.answer(request, services, user())

    @app.get("/usage")
    def usage() -> Response:
        return usage_pages.answer(request, services, user())

    @app.route("/memories", methods=["GET", "POST"])
    def memories() -> Response:
        return memory_pages.answer(request, services, user())

    @app.route("/memories/<memory_id>", methods=["PATCH", "DELETE"])
    def memory(memory_id: str) -> Response:
        return memory_pages.answer(request, services, user(), memory_id)

    @app.route("/schedules", methods=["GET", "POST"])
    def schedules() -> Response:
        return schedule_pages.answer(request, services, user())

    @app.route("/schedules/<schedule_id>", methods=["PATCH", "DELETE"])
    def schedule(schedule_id: str) -> Response:
        return schedule_pages.answer(request, services, user(), schedule_id)

    @app.get("/history")
    def history() -> Response:
        return history_pages.listed(request, services, user())

    @app.get("/history/search")
    def search() -> Response:
        return history_pages.searched(request, services, user())

    @app.get("/chats/<chat_id>/export")
    def export(chat_id: str) -> Response:
        return history_pages.exported(request, services, user(), chat_id)

    @app.post(DUE_PATH)
    def due() -> Response:
        return schedule_pages.due(request, services)
