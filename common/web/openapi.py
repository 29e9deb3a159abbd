"""The HTTP endpoints as an OpenAPI document: what each takes, answers, and from whom.

The container's routes and the functions' pages are declared here once, as types, and
`docs/openapi.json` is made of them (`python -m run.local docs`). A test compares the declaration
with the routes that the code really has, both ways, and sends every endpoint requests generated
from the document, so that neither can drift from the other. The chat socket is in
`docs/asyncapi.json`.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from common.assistant.jobs import FOLLOW_UP_PATH
from common.assistant.schedules import DUE_PATH
from common.assistant.texts import TEXTS_PATH
from common.documents import CHAT_ID
from common.web import shapes as s

Caller: TypeAlias = Literal["user", "platform", "twilio", "plaid", "anybody"]
_REF = "#/components/schemas/{name}"
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_IDS = {"chat_id": f"^{CHAT_ID.pattern[:-2]}$"}
_PARAMETER = re.compile(r"\{(\w+)\}")


# --- the endpoints ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one address. `gives` is a type of JSON answer, or a media type.

    `function` names the function that answers, "" the container; `path` begins with its mount.
    `optional`: the caller may, but need not, be signed in, or the body may be left out.
    """

    method: str
    path: str
    caller: Caller
    summary: str
    takes: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    gives: type[msgspec.Struct] | str = ""
    status: int = 200
    form: bool = False
    optional: bool = False
    function: str = ""

    @property
    def id(self) -> str:
        """Its name in the document."""
        words = re.findall(r"\w+", self.path) or ["page"]
        return "_".join((self.method.lower(), *words))


def _container() -> list[Endpoint]:
    def of(method: str, path: str, caller: Caller, summary: str, **more: Any) -> Endpoint:
        return Endpoint(method=method, path=path, caller=caller, summary=summary, **more)

    return [
        of("GET", "/", "anybody", "The web client.", gives="text/html"),
        of("GET", "/docs/settings", "anybody", "Every setting, explained.", gives="text/html"),
        of("GET", "/healthz", "anybody", "Whether the process answers.", gives=s.Status),
        of("GET", "/test", "anybody", "The original backend's health check.", gives=s.Health),
        of("GET", "/client/config", "anybody", "What a client must know.", gives=s.ClientConfig),
        of("POST", "/client/sign_in", "anybody", "A development token; 404 in production.",
           takes=s.SignIn, gives=s.SignedIn),
        of("POST", "/tickets", "user", "A one-time ticket for a socket.",
           query=s.TicketFor, gives=s.Ticket),
        of("GET", "/chats", "user", "The latest chats.", gives=s.ChatList),
        of("GET", "/chats/{chat_id}/turns", "user", "A page of a chat's turns.",
           query=s.Turns, gives=s.TurnPage),
        of("PATCH", "/chats/{chat_id}", "user", "Rename a chat.",
           takes=s.Rename, gives=s.ChatTitle),
        of("DELETE", "/chats/{chat_id}", "user", "Delete a chat.", status=204),
        of("GET", "/chats/{chat_id}/export", "user", "The whole chat as a file.",
           query=s.ExportForm, gives="application/json, text/markdown"),
        of("GET", "/history", "user", "Past chats by pages.", query=s.Chats, gives=s.ChatPage),
        of("GET", "/history/search", "user", "Search what was said.", query=s.Search, gives=s.Hits),
        of("GET", "/audit", "user", "What was done in the user's name.",
           query=s.Latest, gives=s.Acts),
        of("GET", "/usage", "user", "What was spent, by day.", query=s.Days, gives=s.UsageShown),
        of("GET", "/memories", "user", "What is remembered.", gives=s.MemoryList),
        of("POST", "/memories", "user", "Remember something.",
           takes=s.NewMemory, gives=s.MemoryShown, status=201),
        of("PATCH", "/memories/{memory_id}", "user", "Change a memory.",
           takes=s.NewMemory, gives=s.MemoryShown),
        of("DELETE", "/memories/{memory_id}", "user", "Forget something.", status=204),
        of("GET", "/schedules", "user", "What happens later.", gives=s.ScheduleList),
        of("POST", "/schedules", "user", "Have something happen later.",
           takes=s.NewSchedule, gives=s.ScheduleShown, status=201),
        of("PATCH", "/schedules/{schedule_id}", "user", "Pause or resume a schedule.",
           takes=s.ScheduleStatus, gives=s.ScheduleShown),
        of("DELETE", "/schedules/{schedule_id}", "user", "End a schedule.", status=204),
        of("POST", FOLLOW_UP_PATH, "platform", "Open a follow-up turn.",
           takes=s.FollowUp, gives=s.Ok),
        of("POST", DUE_PATH, "platform", "Wake a schedule.", takes=s.Occurrence, gives=s.Ok),
        of("POST", TEXTS_PATH, "platform", "Answer a text.", takes=s.Text, gives=s.Ok),
        of("POST", "/twilio/heard", "twilio", "What a caller said or keyed.",
           takes=s.Form, form=True, gives="text/xml"),
    ]  # fmt: skip


def _pages() -> list[Endpoint]:
    def of(
        function: str, method: str, path: str, caller: Caller, summary: str, **more: Any
    ) -> Endpoint:
        return Endpoint(
            function=function, method=method, path=f"/{function}{path}".rstrip("/"), caller=caller,
            summary=summary, **more,
        )  # fmt: skip

    account, oauth, bank = "account", "oauth_google", "plaid_link"
    voice, sms = "twilio_voice", "twilio_sms"
    return [
        of(account, "GET", "/", "user", "The user as a member.", gives=s.Membership),
        of(account, "DELETE", "/", "user", "Delete the user.", takes=s.Deletion, gives=s.Deleted),
        of(account, "GET", "/terms", "user", "The present terms.", gives=s.TermsShown),
        of(account, "POST", "/terms", "user", "Accept them.", takes=s.Terms, gives=s.TermsShown),
        of(account, "POST", "/phone", "user", "Send a code to a number.",
           takes=s.Phone, gives=s.CodeSent),
        of(account, "POST", "/phone/verify", "user", "Prove the number.",
           takes=s.Code, gives=s.PhoneState),
        of(account, "DELETE", "/phone", "user", "Forget the number.", gives=s.Ok),
        of(account, "POST", "/pin", "user", "Set the PIN for calls.", takes=s.Pin, gives=s.Ok),
        of(account, "GET", "/integrations", "user", "Every service and what is linked.",
           gives=s.IntegrationList),
        of(account, "GET", "/connections", "user", "What can be connected, and what it allows.",
           gives=s.ConnectionList),
        of(account, "GET", "/update_integrations", "anybody", "Describe the services anew.",
           gives=s.Updated),
        of(account, "POST", "/tickets", "user", "A one-time ticket for a socket.", gives=s.Ticket),
        of(account, "GET", "/export", "user", "A zip of all that is the user's.",
           gives="application/zip"),
        of(account, "POST", "/waitlist", "anybody", "Join the waitlist.",
           takes=s.Email, gives=s.Success),
        of(account, "POST", "/email", "anybody", "The same, as the original had it.",
           takes=s.Email, gives=s.Success),
        of(oauth, "GET", "/login", "user", "Begin to link an account.",
           query=s.Login, gives=s.Address, optional=True),
        of(oauth, "GET", "/callback", "anybody", "The provider sends the browser back.",
           query=s.Callback, status=302),
        of(oauth, "POST", "/ticket", "user", "A ticket for /login elsewhere.", gives=s.Ticket),
        of(oauth, "GET", "/accounts", "user", "The linked accounts.", gives=s.AccountList),
        of(oauth, "DELETE", "/accounts/{account_id}", "user", "End a link.", status=204),
        of(oauth, "POST", "/access_request", "user", "Ask for early access to Google.",
           takes=s.Access, gives=s.Ok),
        of(bank, "GET", "/info", "user", "What is linked, and where.", gives=s.BankInfo),
        of(bank, "POST", "/info", "user", "The same, as the original had it.", gives=s.BankInfo),
        of(bank, "GET", "/login", "user", "Begin consent on Plaid's own page.",
           query=s.BankLogin, gives=s.BankAddress, optional=True),
        of(bank, "POST", "/create_link_token", "user", "What Plaid Link opens with.",
           takes=s.LinkToken, gives=s.LinkTokenMade),
        of(bank, "POST", "/set_access_token", "user", "Keep the bank that was linked.",
           takes=s.PublicToken, gives=s.BankLinked),
        of(bank, "GET", "/accounts", "user", "The linked banks.", gives=s.BankList),
        of(bank, "DELETE", "/accounts/{account_id}", "user", "End a link.", gives=s.BankGone),
        of(bank, "POST", "/webhook", "plaid", "Hear Plaid.", gives=s.Heard),
        of(voice, "GET", "/incoming", "twilio", "A call.", gives="text/xml"),
        of(voice, "POST", "/incoming", "twilio", "A call.", takes=s.Form, form=True,
           gives="text/xml"),
        of(voice, "POST", "/status", "twilio", "How a call stands.", takes=s.Form, form=True,
           status=204),
        of(voice, "POST", "/token", "user", "What a browser calls with.", gives=s.CallToken),
        of(voice, "POST", "/call", "user", "Call the user.", takes=s.CallMe, optional=True,
           gives=s.Called),
        of(sms, "POST", "/incoming", "twilio", "A text.",
           takes=s.Form, form=True, gives="text/xml"),
        of(sms, "POST", "/status", "twilio", "How a text fared.", takes=s.Form, form=True,
           status=204),
        of("connector_worker", "POST", "/", "platform", "Run a slow call.",
           takes=s.Job, gives=s.Ok),
        of("title_generator", "POST", "/", "platform", "Name a chat.", takes=s.Push, gives=s.Ok),
        of("analytics_sink", "POST", "/", "platform", "Forward a fact.", takes=s.Push, gives=s.Ok),
    ]  # fmt: skip


ENDPOINTS: Sequence[Endpoint] = (*_container(), *_pages())


# --- the document -------------------------------------------------------------------------------


def document_text(aliases: Mapping[str, Sequence[str]]) -> str:
    """Return the document as `docs/openapi.json` holds it; see `document`."""
    return json.dumps(document(aliases), indent=1, ensure_ascii=False) + "\n"


def document(aliases: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document; `aliases` are a function's paths besides its own."""
    types: set[type[msgspec.Struct]] = {s.Failure}
    for each in ENDPOINTS:
        types.update(t for t in (each.takes, each.gives, each.query) if isinstance(t, type))
    ordered = sorted(types, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, Any] = {}
    for each in ENDPOINTS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas)
    queries = {each.query.__name__ for each in ENDPOINTS if each.query}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ODAI",
            "version": "1",
            "description": "The container's pages and the functions, at the paths where a laptop "
            "and the load balancer have them. Some answer at the original backend's as well: "
            + "; ".join(
                f"`/{name}` also at {', '.join(f'`{path}`' for path in paths)}"
                for name, paths in aliases.items() if paths
            ) + ".",
        },
        "paths": paths,
        "components": {
            "schemas": {name: each for name, each in schemas.items() if name not in queries},
            "securitySchemes": _SCHEMES,
        },
    }  # fmt: skip


_SCHEMES: dict[str, Any] = {
    "user": {"type": "http", "scheme": "bearer",
             "description": "A Firebase ID token; on a laptop, a development token."},
    "platform": {"type": "http", "scheme": "bearer",
                 "description": "Our own queues and topics, by OIDC."},
    "twilio": {"type": "apiKey", "in": "header", "name": "X-Twilio-Signature"},
    "plaid": {"type": "apiKey", "in": "header", "name": "Plaid-Verification"},
}  # fmt: skip


def _operation(each: Endpoint, schemas: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": each.id, "summary": each.summary,
                            "tags": [each.function or "chat_stream"]}  # fmt: skip
    if each.caller != "anybody":
        made["security"] = [{each.caller: []}] + ([{}] if _signing_in_is_optional(each) else [])
    if parameters := [*_in_path(each), *_in_query(each, schemas)]:
        made["parameters"] = parameters
    if each.takes:
        kind = _FORM if each.form else _JSON
        schema = {"$ref": _REF.format(name=each.takes.__name__)}
        required = not (each.form or each.optional)
        made["requestBody"] = {"required": required, "content": {kind: {"schema": schema}}}
    made["responses"] = {
        str(each.status): _answer(each),
        **({"302": {"description": "On to the client."}} if _signing_in_is_optional(each) else {}),
        "4XX": _failure(each, "What was asked cannot be done."),
        "502": _failure(each, "Another service refused for good."),
        "503": _failure(each, "Another service does not answer now, or a task must come again."),
    }
    return made


def _signing_in_is_optional(each: Endpoint) -> bool:
    return each.optional and not each.takes


def _in_path(each: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True,
         "schema": {"type": "string", "pattern": _IDS.get(name, "^[A-Za-z0-9_:-]{1,128}$")}}
        for name in _PARAMETER.findall(each.path)
    ]  # fmt: skip


def _in_query(each: Endpoint, schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    if each.query is None:
        return []
    schema = schemas[each.query.__name__]
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _present(said)}
        for name, said in schema["properties"].items()
    ]


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a query parameter's schema without its null, which stands for leaving it out."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    made = {**kinds[0]} if kinds else {**schema}
    made.pop("default", None) if made.get("default", "") is None else None
    if None in made.get("enum", ()):
        made["enum"] = [value for value in made["enum"] if value is not None]
    return made


def _answer(each: Endpoint) -> dict[str, Any]:
    if isinstance(each.gives, type):
        schema = {"$ref": _REF.format(name=each.gives.__name__)}
        told = inspect.getdoc(each.gives) or ""
        return {"description": told, "content": {_JSON: {"schema": schema}}}
    made: dict[str, Any] = {"description": each.summary}
    if kinds := [kind.strip() for kind in each.gives.split(",") if kind]:
        made["content"] = {kind: {} for kind in kinds}
    return made


def _failure(each: Endpoint, told: str) -> dict[str, Any]:
    kinds = (s.Failure, s.Ok) if each.caller == "platform" else (s.Failure,)
    schemas = [{"$ref": _REF.format(name=kind.__name__)} for kind in kinds]
    schema = {"anyOf": schemas} if len(schemas) > 1 else schemas[0]
    return {"description": told, "content": {_JSON: {"schema": schema}}}
