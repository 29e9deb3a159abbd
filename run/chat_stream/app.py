"""The Flask application of the container, made by a factory from `Services`."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from flask import Flask, Response, jsonify, request, send_from_directory
from flask_sock import Sock

from common.assistant.jobs import FOLLOW_UP_PATH
from common.assistant.protocol import START, SUBPROTOCOL, check_chat_id
from common.errors import InvalidInput, NotFound
from common.identity import Identity
from common.web import endpoint
from common.web.call_pages import BROWSER_KEYS
from common.web.edge import count_field, install, json_body, text_field
from common.web.endpoint import acknowledge, check_platform
from run.chat_stream import docs_pages, packed, phone
from run.chat_stream.chat_socket import ChatSockets
from run.chat_stream.mine import mount_mine
from run.chat_stream.socket import NoThread
from run.chat_stream.voice.sockets import AllSockets, VoiceSockets

if TYPE_CHECKING:
    from common.assistant.chats import ChatState
    from common.bootstrap import Services
    from common.settings import Settings
    from common.tools import Entry

P = ParamSpec("P")

_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
# What Twilio's SDK asks for beside its WebSocket, as it says: sounds, and how calls went.
_TWILIO = "https://eventgw.twilio.com https://media.twiliocdn.com https://sdk.twilio.com"


def create_app(services: Services) -> Flask:
    """Return the application; opening sockets needs `services.turns`, made on first use."""
    app = Flask(__name__, static_url_path="/static")
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    app.config["SOCK_SERVER_OPTIONS"] = {
        "thread_class": NoThread,
        "subprotocols": [SUBPROTOCOL],
    }
    install(app, allowed_origins=services.settings.allowed_origins)
    sockets, voice = ChatSockets(services), VoiceSockets(services)
    app.extensions["odai_sockets"] = AllSockets(sockets, voice)
    app.extensions["odai_voice"] = voice
    _pages(app, services, sockets)
    _sign_in(app, services)
    _chats(app, services)
    _platform(app, services)
    phone.install(app, services)
    mount_mine(app, services)
    docs_pages.install(app, services, policy=_POLICY)
    packed.install(app)
    sock = Sock(app)
    sock.route("/chats/<chat_id>")(sockets.accept)
    sock.route("/twilio/connect")(voice.accept_phone)
    sock.route("/app/voice/stream/<session_id>")(voice.accept_app)
    app.before_request(_refuse_compression)
    return app


def _refuse_compression() -> None:
    # One encoding of a frame serves all its viewers only where frames are not compressed for each.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)


def _pages(app: Flask, services: Services, sockets: ChatSockets) -> None:
    settings = services.settings
    calls_from_browser = all(map(settings.secret, BROWSER_KEYS))
    policy = _with_twilio(_POLICY) if calls_from_browser else _POLICY
    firebase = _firebase(settings)
    if firebase:
        reached = f"connect-src 'self' {firebase['identity']} {firebase['tokens']}"
        policy = policy.replace("connect-src 'self'", reached)

    @app.get("/")
    def page() -> Response:
        response = send_from_directory(str(app.static_folder), "index.html")
        response.headers["Content-Security-Policy"] = policy
        response.headers["Cache-Control"] = "no-cache"
        return response

    @app.get("/healthz")
    def healthy() -> Response:
        return jsonify(status="ok")

    @app.get("/test")
    def original_health_check() -> Response:
        return jsonify(
            status="healthy",
            service="ODAI",
            environment=settings.environment,
            connections=sockets.count,
        )

    @app.get("/client/config")
    def client_config() -> Response:
        return jsonify(
            environment=settings.environment,
            sandbox=settings.sandbox,
            development_sign_in=services.development is not None,
            model="offline" if settings.offline else settings.model,
            offline=settings.offline,
            voice=bool(settings.openai_api_key or settings.realtime_url),
            phone=calls_from_browser,
            connectors=[
                {
                    "slug": entry.slug,
                    "name": entry.connector.name,
                    "category": entry.connector.category,
                    "capability": entry.connector.capability,
                    "description": entry.connector.description,
                    # An account is linked by each user, after signing in.
                    "on": not entry.missing(settings.secret) and not _account(entry),
                    "account": _account(entry),
                    "missing": entry.missing(settings.secret),
                    "examples": entry.connector.examples,
                }
                for entry in services.registry.entries.values()
            ],
            firebase=firebase,
        )


def _with_twilio(policy: str) -> str:
    """Return the page's policy where its user may call by telephone."""
    wider = policy.replace("connect-src 'self'", f"connect-src 'self' {_TWILIO}")
    return f"{wider}; media-src 'self' mediastream: {_TWILIO}"


def _sign_in(app: Flask, services: Services) -> None:
    @app.post("/client/sign_in")
    def development_sign_in() -> Response:
        """Make a development token; there is no such page in production."""
        if services.development is None:
            raise NotFound("There is no development sign-in here.")
        name = text_field(json_body(), "name", longest=60)
        uid = development_uid(name)
        token = services.development.mint(uid, name=name)
        expires = services.loop.run(services.development.verify(token)).expires_at
        return jsonify(token=token, uid=uid, expires_at=expires.isoformat())

    @app.post("/tickets")
    @signed_in(services)
    def ticket(identity: Identity) -> Response:
        """Make a one-time ticket for a chat socket, or with `?for=voice` for the app's calls."""
        purpose = request.args.get("for", "chat")
        if purpose not in ("chat", "voice"):
            raise InvalidInput("for is chat or voice.")
        if purpose == "voice":
            mint = services.tickets.mint(identity, purpose="voice", claims={"channel": "app"})
        else:
            mint = services.tickets.mint(identity, purpose="chat")
        made = services.loop.run(mint)
        return jsonify(ticket=made, expires_in=60)


def _chats(app: Flask, services: Services) -> None:
    chats, run = services.chats, services.loop.run

    def own(identity: Identity, chat_id: str) -> ChatState:
        state = run(chats.load(check_chat_id(chat_id), identity.uid))
        if not state.version:
            raise NotFound("There is no such chat.")
        return state

    @app.get("/chats")
    @signed_in(services)
    def listed(identity: Identity) -> Response:
        states = run(chats.listed(identity.uid))
        return jsonify(
            chats=[
                {"id": s.id, "title": s.title, "updated_at": _time(s.updated_at)} for s in states
            ]
        )

    @app.get("/chats/<chat_id>/turns")
    @signed_in(services)
    def turns(identity: Identity, chat_id: str) -> Response:
        """Return a page of turns, oldest first, with their events as the socket sends them."""
        state = own(identity, chat_id)
        limit = count_field(request.args, "limit", default=20, most=100)
        before = request.args.get("before")
        page = run(chats.page(state, before=before, limit=limit + 1))
        more, page = len(page) > limit, page[-limit:]
        shown, cursor = [], str(START)
        for turn in page:
            events, seq = run(chats.told(state, turn.id))
            cursor = f"{turn.id}:{seq}"
            shown.append(
                {
                    "turn_id": turn.id,
                    "prompt": turn.prompt,
                    "status": turn.status,
                    "started_at": turn.started_at.isoformat(),
                    "events": [json.loads(event) for event in events],
                }
            )
        return jsonify(
            chat={"id": state.id, "title": state.title}, turns=shown, cursor=cursor, more=more
        )

    @app.patch("/chats/<chat_id>")
    @signed_in(services)
    def rename(identity: Identity, chat_id: str) -> Response:
        state = own(identity, chat_id)
        run(chats.rename(state, text_field(json_body(), "title", longest=100)))
        return jsonify(id=state.id, title=state.title)

    @app.delete("/chats/<chat_id>")
    @signed_in(services)
    def delete(identity: Identity, chat_id: str) -> tuple[str, int]:
        run(services.turns.forget(own(identity, chat_id)))
        return "", 204


def _platform(app: Flask, services: Services) -> None:
    @app.post(FOLLOW_UP_PATH)
    def follow_up() -> Response:
        """Open the turn that tells a job's result or acts on a decision: called by our queue."""
        check_platform(request, services)
        body = json_body()
        of = {
            name: text_field(body, name, longest=128, default="")
            for name in ("uid", "job_id", "approval_id", "due_id", "after")
        }
        services.loop.run(services.turns.follow_up(**of))
        services.loop.run(phone.tell_follow_up(services, of))
        return acknowledge(200)


def signed_in(
    services: Services,
) -> Callable[[Callable[Concatenate[Identity, P], Any]], Callable[P, Any]]:
    """Give a view the caller's identity as its first argument; 401 without a valid token."""

    def decorate(view: Callable[Concatenate[Identity, P], Any]) -> Callable[P, Any]:
        @wraps(view)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Any:
            return view(endpoint.signed_in(request, services), *args, **kwargs)

        return checked

    return decorate


def _firebase(settings: Settings) -> dict[str, str] | None:
    """Return what the client signs users in with, or None where no project and key are set."""
    if not (settings.firebase_api_key and (settings.firebase_project or settings.google_project)):
        return None
    identity, tokens = (
        settings.egress_map.get(host, f"https://{host}")
        for host in ("identitytoolkit.googleapis.com", "securetoken.googleapis.com")
    )
    return {"api_key": settings.firebase_api_key, "identity": identity, "tokens": tokens}


def _account(entry: Entry) -> str:
    """Return whose account a service needs of its user: a provider, "plaid" or ""."""
    return "plaid" if entry.connector.auth == "plaid" else entry.connector.account


def development_uid(name: str) -> str:
    """Return the user id of a development user, stable for a name."""
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.casefold())
    return "dev-" + (letters.strip("-") or "user")[:60]


def _time(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None
