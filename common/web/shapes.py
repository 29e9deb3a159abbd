"""The JSON of the HTTP endpoints as types: what is asked, what is answered.

`common.web.openapi` makes the published document of them. The pages themselves read with the
checks of `common.web.edge`, whose messages are for people; a test sends every page what these
types allow and forbid.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from common.assistant.memories import LONGEST as MEMORY
from common.assistant.schedules import LONGEST as SCHEDULE
from common.assistant.usage import LONGEST_DAYS
from common.documents import CHAT_ID, TURN_ID

# What a text field must hold: something that is not blank.
_TEXT = r"\S"
ChatId: TypeAlias = Annotated[str, Meta(pattern=f"^{CHAT_ID.pattern[:-2]}$")]
Date: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Moment: TypeAlias = Annotated[str, Meta(description="ISO 8601, with its zone.")]
Money: TypeAlias = Annotated[str, Meta(description="US dollars.")]
Page: TypeAlias = Annotated[str, Meta(description="The `after` of the page before.")]


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON answer: exactly these fields."""


# --- what is asked ------------------------------------------------------------------------------


class SignIn(msgspec.Struct):
    """Who signs in on a development machine."""

    name: Annotated[str, Meta(min_length=1, max_length=60, pattern=_TEXT)]


class Rename(msgspec.Struct):
    """A chat's new title."""

    title: Annotated[str, Meta(min_length=1, max_length=100, pattern=_TEXT)]


class NewMemory(msgspec.Struct):
    """What to remember."""

    text: Annotated[str, Meta(min_length=1, max_length=MEMORY, pattern=_TEXT)]


class NewSchedule(msgspec.Struct):
    """What to have happen later, in the user's own zone unless another is named."""

    kind: Literal["reminder", "briefing"]
    text: Annotated[str, Meta(min_length=1, max_length=SCHEDULE, pattern=_TEXT)]
    time: Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    every: Literal["", "once", "day", "week", "month", "year"] = "once"
    date: str = ""
    days: list[int] = []
    sms: bool = False
    timezone: str = ""
    chat_id: str = ""


class ScheduleStatus(msgspec.Struct):
    """Pause a schedule or let it go on."""

    status: Literal["paused", "active"]


class Terms(msgspec.Struct):
    """The version of the terms that is accepted."""

    version: Annotated[str, Meta(min_length=1, max_length=20, pattern=_TEXT)]


class Phone(msgspec.Struct):
    """A number to prove, with its country code."""

    number: Annotated[str, Meta(min_length=1, max_length=40, pattern=_TEXT)]


class Code(msgspec.Struct):
    """The code that was sent to the number."""

    code: Annotated[str, Meta(min_length=1, max_length=20, pattern=_TEXT)]


class Pin(msgspec.Struct):
    """The PIN that opens own accounts on the phone."""

    pin: Annotated[str, Meta(min_length=1, max_length=8, pattern=_TEXT)]


class Deletion(msgspec.Struct):
    """The user's word that the account shall be deleted."""

    confirm: Literal[True]
    force: bool = False


class Email(msgspec.Struct):
    """An address for the waitlist."""

    email: Annotated[
        str, Meta(max_length=254, pattern=r"^\s*[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+\s*$")
    ]


class Access(msgspec.Struct):
    """The Google account that early access is for; empty: the user's own address."""

    email: str = ""


class LinkToken(msgspec.Struct):
    """What Plaid Link shall be opened for: a new bank, or `item_id` again."""

    item_id: Annotated[str, Meta(max_length=200)] | None = None
    hosted: Annotated[Any, Meta(description='true, or "true" in a form; else no.')] = False


class PublicToken(msgspec.Struct):
    """What Plaid Link returned."""

    public_token: Annotated[str, Meta(min_length=1, max_length=200)]


class CallMe(msgspec.Struct):
    """The chat that a call shall go on with; none: a new one."""

    chat_id: ChatId | None = None


class Job(msgspec.Struct):
    """The slow call to run."""

    job_id: Annotated[str, Meta(min_length=1, max_length=64, pattern=_TEXT)]


class Text(msgspec.Struct):
    """The text to answer."""

    id: Annotated[str, Meta(min_length=1, max_length=64, pattern=_TEXT)]


class Occurrence(msgspec.Struct):
    """The schedule to wake."""

    uid: Annotated[str, Meta(min_length=1, max_length=128, pattern=_TEXT)]
    id: Annotated[str, Meta(min_length=1, max_length=128, pattern=_TEXT)]
    n: int
    made_at: float


class FollowUp(msgspec.Struct):
    """What a turn is opened for: a job's result, a decision, or an occurrence."""

    uid: Annotated[str, Meta(max_length=128)] = ""
    job_id: Annotated[str, Meta(max_length=128)] = ""
    approval_id: Annotated[str, Meta(max_length=128)] = ""
    due_id: Annotated[str, Meta(max_length=128)] = ""
    after: Annotated[str, Meta(max_length=128)] = ""


class PushedMessage(msgspec.Struct):
    """An event as Pub/Sub wraps it: `data` is JSON in base64."""

    data: str
    attributes: dict[str, str]
    messageId: str


class Push(msgspec.Struct):
    """A push delivery of Pub/Sub."""

    message: PushedMessage


class Form(msgspec.Struct):
    """The fields that Twilio sends with a webhook."""

    CallSid: str = ""
    MessageSid: str = ""


# --- queries ------------------------------------------------------------------------------------


class TicketFor(msgspec.Struct):
    """Chats, where nothing else is named."""

    kind: Literal["chat", "voice"] = msgspec.field(name="for", default="chat")


class Turns(msgspec.Struct):
    """Which turns of a chat."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    before: Annotated[str, Meta(pattern=f"^({TURN_ID.pattern[:-2]})?$")] = ""


class Latest(msgspec.Struct):
    """How many rows."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 100


class Days(msgspec.Struct):
    """How many days, of which zone; the zone is the user's where none is named."""

    days: Annotated[int, Meta(ge=1, le=LONGEST_DAYS)] = 30
    timezone: str = ""


class Chats(msgspec.Struct):
    """Which page of chats."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    after: Page = ""


class Search(msgspec.Struct):
    """What to search for."""

    q: Annotated[str, Meta(min_length=1, max_length=200, pattern=_TEXT)]
    after: Page = ""


class ExportForm(msgspec.Struct):
    """In which form."""

    format: Literal["json", "markdown"] = "json"


class Login(msgspec.Struct):
    """What to link, for what, and where to end."""

    provider: str = "google"
    feature: str = ""
    next: str = ""
    account: str = ""
    ticket: str | None = None


class BankLogin(msgspec.Struct):
    """Which bank to mend, and where to end."""

    item_id: Annotated[str, Meta(max_length=200)] | None = None
    next: str = ""


class Callback(msgspec.Struct):
    """What the provider says."""

    state: str = ""
    code: str = ""
    error: str = ""


# --- answers ------------------------------------------------------------------------------------


class Problem(Answer):
    """What went wrong, for the user; `code` is for programs."""

    code: str
    message: str
    retryable: bool


class Failure(Answer):
    """Every answer from 400 on."""

    error: Problem


class Status(Answer):
    """Whether the process answers."""

    status: str


class Health(Answer):
    """The original backend's health check."""

    status: str
    service: str
    environment: str
    connections: int


class Service(Answer):
    """A connector as the web client shows it."""

    slug: str
    name: str
    category: str
    capability: str
    description: str
    on: bool
    account: str
    missing: list[str]
    examples: list[str]


class ClientConfig(Answer):
    """What a client must know before anybody signs in."""

    environment: str
    sandbox: bool
    development_sign_in: bool
    model: str
    offline: bool
    voice: bool
    phone: bool
    connectors: list[Service]
    firebase: dict[str, Any] | None


class SignedIn(Answer):
    """A development token."""

    token: str
    uid: str
    expires_at: Moment


class Ticket(Answer):
    """A one-time ticket, for `expires_in` seconds."""

    ticket: str
    expires_in: int


class ChatLine(Answer):
    """A chat in a list."""

    id: str
    title: str
    updated_at: Moment | None


class ChatList(Answer):
    """The user's latest chats."""

    chats: list[ChatLine]


class ChatPage(Answer):
    """A page of the user's chats; `after` is "" on the last."""

    chats: list[ChatLine]
    after: str


class ChatTitle(Answer):
    """A chat by its name."""

    id: str
    title: str


class TurnShown(Answer):
    """A turn with its events, as the socket sends them (`docs/asyncapi.json`)."""

    turn_id: str
    prompt: str
    status: str
    started_at: Moment
    events: list[dict[str, Any]]


class TurnPage(Answer):
    """A page of turns, oldest first."""

    chat: ChatTitle
    turns: list[TurnShown]
    cursor: str
    more: bool


class Hit(Answer):
    """A find in a chat's title (`turn_id` "") or in what was said."""

    chat: ChatLine
    turn_id: str
    role: str
    excerpt: str


class Hits(Answer):
    """A page of finds."""

    hits: list[Hit]
    after: str


class Act(Answer):
    """Something done in the user's name."""

    id: str
    what: str
    by: str
    at: Moment
    status: str
    ended_at: Moment | None
    details: str
    title: str
    connector: str
    connector_name: str
    arguments: dict[str, Any] | None


class Acts(Answer):
    """What was done in the user's name, the latest first."""

    acts: list[Act]


class TokenCount(Answer):
    """Tokens of model calls."""

    requests: int
    input: int
    cached: int
    output: int
    audio_input: int
    audio_output: int


class Day(Answer):
    """A day's use."""

    date: Date
    turns: int
    cost_usd: Money
    tokens: TokenCount
    tool_calls: dict[str, int]


class Caps(Answer):
    """What a day may cost."""

    soft_usd: Money | None
    hard_usd: Money | None


class UsageShown(Answer):
    """What a user spent, by their own days."""

    timezone: str
    today: Date
    days: list[Day]
    cost_usd: Money
    limits: Caps
    connector_names: dict[str, str]


class MemoryShown(Answer):
    """One thing remembered."""

    id: str
    text: str
    by: str
    created_at: Moment
    updated_at: Moment


class MemoryList(Answer):
    """What is remembered of a user."""

    memories: list[MemoryShown]


class ScheduleShown(Answer):
    """Something that happens later."""

    id: str
    kind: str
    status: str
    text: str
    when: str
    timezone: str
    next_at: Moment | None
    last_at: Moment | None
    sms: bool


class ScheduleList(Answer):
    """What a user has happen later."""

    schedules: list[ScheduleShown]


class Ok(Answer):
    """It is done; for a queue, it need not come again."""

    ok: bool


class CodeSent(Answer):
    """A code is on its way."""

    ok: bool
    expires_in: int


class PhoneState(Answer):
    """The user's number, by its last digits."""

    verified: bool
    ending: str


class OwnNumber(PhoneState):
    """The user's number; `missing` names the settings without which no code can be sent."""

    missing: list[str]


class TermsShown(Answer):
    """The present terms."""

    version: str
    accepted: bool
    accepted_at: Moment | None


class Membership(Answer):
    """What is known of the user."""

    uid: str
    anonymous: bool
    signed_up: bool
    signed_up_at: Moment | None
    terms: TermsShown
    phone: OwnNumber
    pin_set: bool


class LinkedLine(Answer):
    """A linked account or bank."""

    id: str
    label: str
    status: str


class Integration(Answer):
    """A service, whether it is on, and what the user has linked."""

    slug: str
    name: str
    category: str
    description: str
    examples: list[str]
    auth: str
    provider: str
    on: bool
    linked: list[LinkedLine]


class IntegrationList(Answer):
    """Every service."""

    integrations: list[Integration]


class Feature(Answer):
    """A part of a service: what it asks for, and what is looked at and done with it."""

    name: str
    label: str
    asks: list[str]
    connectors: list[str]
    looks: list[str]
    acts: list[str]


class Connected(Answer):
    """An account that is connected; a bank's has `parts`."""

    id: str
    label: str
    status: Literal["ok", "expiring", "reauth"]
    linked_at: Moment
    used_at: Moment | None
    features: list[str]
    parts: list[str] = []


class Connectable(Answer):
    """A service an account of which can be connected; `missing` names settings."""

    slug: str
    name: str
    on: bool
    missing: list[str]
    login: str
    features: list[Feature]
    accounts: list[Connected]


class ConnectionList(Answer):
    """What can be connected, and what is."""

    services: list[Connectable]


class Updated(Answer):
    """How many descriptions changed."""

    status: str
    updated: int


class Success(Answer):
    """The original's word for done."""

    status: Literal["success"]


class Deleted(Answer):
    """The user is gone."""

    deleted: bool


class Address(Answer):
    """Where to send the browser."""

    url: str


class LinkedAccount(Answer):
    """A linked account, without its secrets."""

    id: str
    provider: str
    label: str
    scopes: list[str]
    status: str
    linked_at: Moment
    used_at: Moment | None


class AccountList(Answer):
    """The user's linked accounts."""

    accounts: list[LinkedAccount]


class Mask(Answer):
    """A bank account by its name and last digits."""

    name: str | None
    mask: str | None


class BankShown(Answer):
    """A linked bank, with the original's names for its parts and ours."""

    id: str
    bank_name: str
    mask: list[Mask]
    accounts: list[dict[str, Any]]
    status: str
    linked_at: Moment
    synced_at: Moment | None
    used_at: Moment | None


class BankInfo(Answer):
    """What is linked, and where."""

    environment: str
    products: list[str]
    item_id: str | None
    items: list[BankShown]


class BankList(Answer):
    """The user's banks."""

    accounts: list[BankShown]


class BankAddress(Answer):
    """A page of Plaid's own."""

    url: str
    expires_at: str


class LinkTokenMade(msgspec.Struct):
    """What Plaid Link opens with, and Plaid's own page where that was asked for."""

    link_token: str
    expiration: str
    hosted_link_url: str = ""


class BankLinked(Answer):
    """The bank that was linked."""

    success: bool
    item_id: str
    bank: BankShown


class BankGone(Answer):
    """The bank whose link has ended."""

    success: bool
    item_id: str
    account_ids: list[str]


class Heard(Answer):
    """What became of a webhook."""

    ok: bool
    outcome: str


class CallToken(Answer):
    """What a browser calls with."""

    token: str
    identity: str
    expires_in: int


class Called(Answer):
    """The call that was made, and the chat it goes on with."""

    call_sid: str
    chat_id: str
