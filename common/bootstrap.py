"""The composition root: from settings to services. The only place that picks adapters.

Everything is made on first use, so that a function loads only what it touches: an OAuth callback
never imports a model library, and a title never imports KMS unless it unseals something.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from common import log
from common.documents import now
from common.errors import Misconfigured
from common.loop import LoopThread
from common.presence import Presence, unknown
from common.settings import Settings

if TYPE_CHECKING:
    from agents import Model

    from common.assistant.analytics import Segment
    from common.assistant.answering import Answering
    from common.assistant.approvals import Approvals
    from common.assistant.audit import Audit
    from common.assistant.budgets import Budgets
    from common.assistant.calls import Calls
    from common.assistant.chats import Chats
    from common.assistant.closing import Closing
    from common.assistant.history import History
    from common.assistant.jobs import Jobs
    from common.assistant.memories import Memories
    from common.assistant.orchestrator import Orchestrator
    from common.assistant.paid import PaidModel
    from common.assistant.phone_book import PhoneBook
    from common.assistant.routing import Router
    from common.assistant.schedules import Schedules
    from common.assistant.scheduling import UserSchedules
    from common.assistant.texts import Texts
    from common.assistant.titles import Titles
    from common.assistant.turns import Turns
    from common.assistant.twilio_api import TwilioApi
    from common.assistant.unhandled import UnhandledRequests
    from common.assistant.usage import Usage
    from common.egress import Egress, Slots
    from common.events import Events
    from common.events.facts import Analytics
    from common.google_rest import GoogleRest
    from common.identity import Callers, DevelopmentTokens, Tickets, Verifier
    from common.identity.blind import BlindIndex
    from common.identity.limits import Limits
    from common.identity.members import Members
    from common.identity.phones import Phones
    from common.identity.pins import Pins
    from common.keys import KeyWrapper
    from common.oauth import Keeper, LinkedAccounts, Links
    from common.oauth.endpoints import Endpoints
    from common.plaid_items import Banks, WebhookKeys
    from common.store import Store
    from common.tasks import Queue, Tasks
    from common.tasks.embedded import Deliver, Delivery, Response
    from common.telemetry import Telemetry
    from common.tools import Accounts, Asker, Registry, ToolRunner
    from common.vault import Vault

EMULATED_PROJECT = "odai-local"  # where the emulators keep things unless another is named
_PUBSUB_EMULATOR = "PUBSUB_EMULATOR_HOST"  # Google's own name for it, as Firestore's client has


class Services:
    """What the entry points use, each made once. `loop` runs every coroutine of the process."""

    _of_process: ClassVar[Services | None] = None

    def __init__(self, settings: Settings, loop: LoopThread) -> None:
        self.settings = settings
        self.loop = loop
        self.clock = now
        self.deliver: Deliver | None = None  # how the embedded queue reaches the functions
        self.telemetry: Telemetry | None = None  # see observe
        self.instance = f"{socket.gethostname()}-{secrets.token_hex(4)}"

    @cached_property
    def presence(self) -> Presence | None:
        """Tells which processes of this machine live; None where there are many machines."""
        if not self.settings.local:
            return None
        return Presence.open(self.settings.data_dir, self.instance)

    @cached_property
    def registry(self) -> Registry:
        """Every connector."""
        from common.tools import Registry

        return Registry.discover()

    @cached_property
    def router(self) -> Router:
        """Chooses connectors for a sentence."""
        from common.assistant.routing import Router

        return Router(self.registry, self.settings.secret)

    @cached_property
    def egress(self) -> Egress:
        """The outbound HTTP client."""
        from common.egress import Egress

        return Egress(host_map=self.settings.egress_map, slots=lambda: self._slots)

    @cached_property
    def _slots(self) -> Slots:
        from common.tools.pacing import SharedSlots

        return SharedSlots(self.store, clock=self.clock)

    @cached_property
    def runner(self) -> ToolRunner:
        """Runs tools."""
        from common.oauth.renewing import RenewingEgress
        from common.tools import ToolRunner

        return ToolRunner(
            self.registry, RenewingEgress(self.egress, self.keeper),
            secret=self.settings.secret, clock=self.clock, accounts_for=self.accounts_for,
            is_owner=self.settings.is_owner,
            banks_for=lambda uid: self.banks.of(uid),
            memories_for=lambda uid: self.memories.of(uid),
            schedules_for=self.schedules_for,
        )  # fmt: skip

    def accounts_for(self, uid: str) -> Accounts:
        """Return the linked accounts of `uid` and their own number, as tools see them."""
        from common.assistant.phone_book import AccountsAndPhone

        return AccountsAndPhone(self.keeper.of(uid), self.phone_book, uid)

    @cached_property
    def linked(self) -> LinkedAccounts:
        """Keeps linked accounts."""
        from common.oauth import LinkedAccounts

        return LinkedAccounts(self.store, self.vault, clock=self.clock)

    @cached_property
    def keeper(self) -> Keeper:
        """Keeps the tokens of linked accounts fresh."""
        from common.oauth import Keeper

        return Keeper(
            self.linked, self._endpoints, self.audit,
            clock=self.clock, home=self.settings.base_url,
        )  # fmt: skip

    @cached_property
    def links(self) -> Links:
        """Links accounts at other services."""
        from common.oauth import Links, States

        settings = self.settings
        secure = settings.base_url.startswith("https://")
        if settings.production and not secure:
            raise Misconfigured("ODAI_PUBLIC_URL must be an https address to link accounts.")
        return Links(
            States(self.store, clock=self.clock, secure=secure), self.linked, self._endpoints,
            self.members, clock=self.clock, home=settings.base_url,
            origins=settings.allowed_origins, browser_map=settings.egress_map,
        )  # fmt: skip

    @cached_property
    def _endpoints(self) -> Endpoints:
        from common.oauth.endpoints import Endpoints

        return Endpoints(lambda: self.egress, self.settings.secret)

    @cached_property
    def store(self) -> Store:
        """The document store."""
        if self.settings.backend != "embedded":
            from common.store.firestore import open_firestore

            return open_firestore(self._project)
        from common.store.sqlite import SqliteStore

        return SqliteStore.open(self.settings.data_dir / "store.sqlite")

    @cached_property
    def keys(self) -> KeyWrapper:
        """Wraps users' data keys."""
        if not self.settings.local:
            from common.keys.kms import KmsKeys

            key, per_user = self.settings.kms_key, self.settings.key_per_user
            return KmsKeys(key, api=self._google(), key_per_user=per_user)
        from common.keys.local import LocalKeys

        return LocalKeys.open(self.settings.data_dir)

    @cached_property
    def vault(self) -> Vault:
        """Seals what is secret."""
        from common.vault import Vault

        return Vault(self.store, self.keys, clock=self.clock)

    @cached_property
    def events(self) -> Events:
        """Carries facts to whoever listens."""
        if self.settings.backend != "embedded":
            from common.events.pubsub import PubSubEvents

            return PubSubEvents(self._project, api=self._google(os.environ.get(_PUBSUB_EMULATOR)))
        from common.events.embedded import EmbeddedEvents

        return EmbeddedEvents()

    @cached_property
    def tasks(self) -> Tasks:
        """Makes requests later."""
        from common.assistant.jobs import queues
        from common.assistant.texts import TEXTS

        return self._open_tasks([*queues(self.registry), TEXTS])

    @property
    def _errands(self) -> Tasks:
        """The queue of texts: to know every queue, a webhook would import every connector."""
        return self.__dict__.get("tasks") or self._text_tasks

    @cached_property
    def _text_tasks(self) -> Tasks:
        from common.assistant.texts import TEXTS

        return self._open_tasks([TEXTS])

    def _open_tasks(self, known: Sequence[Queue]) -> Tasks:
        settings = self.settings
        if not settings.local:
            from common.tasks.cloud_tasks import CloudTasks

            return CloudTasks(
                f"projects/{settings.google_project}/locations/{settings.google_location}",
                api=self._google(),
                queues={queue.name for queue in known},
                base_url=settings.functions_url or settings.base_url,
                service_account=settings.invoker,
                clock=self.clock,
            )
        from common.tasks.embedded import EmbeddedTasks

        return EmbeddedTasks(settings.data_dir / "tasks.sqlite", known, self._deliver, self.clock)

    @cached_property
    def callers(self) -> Callers:
        """Recognises our own platform's calls."""
        from common.identity import LocalCallers, OidcCallers, SigningKeys, google_oidc_keys

        settings = self.settings
        if not settings.local:
            return OidcCallers(
                audience=settings.functions_url or settings.base_url,
                emails=[settings.invoker],
                keys=SigningKeys(google_oidc_keys(self.egress), clock=self.clock),
                signature_checked_by_platform=settings.platform_checks,
                clock=self.clock,
            )
        return LocalCallers.open(
            self.settings.data_dir, production=self.settings.production, clock=self.clock
        )

    @cached_property
    def audit(self) -> Audit:
        """Writes the audit trail."""
        from common.assistant.audit import Audit

        return Audit(self.store, self.vault, clock=self.clock)

    @cached_property
    def jobs(self) -> Jobs:
        """Runs slow calls elsewhere."""
        from common.assistant.jobs import Jobs

        return Jobs(
            self.store, self.vault, self.tasks, self.runner,
            clock=self.clock, instance=self.instance, gone=self._gone,
        )  # fmt: skip

    @cached_property
    def approvals(self) -> Approvals:
        """Keeps what waits for a user's yes."""
        from common.assistant.approvals import Approvals

        return Approvals(self.store, self.vault, self.registry, clock=self.clock)

    @cached_property
    def development(self) -> DevelopmentTokens | None:
        """Makes and checks development tokens; None in production and in any cloud."""
        from common.identity import DevelopmentTokens

        if self.settings.production or not self.settings.local:
            return None  # elsewhere anybody who finds the address could be anybody
        return DevelopmentTokens.open(self.settings.data_dir, production=False, clock=self.clock)

    @cached_property
    def verifier(self) -> Verifier:
        """Checks users' tokens: Firebase's, and outside production the development ones."""
        from common.identity import AnyOf, FirebaseTokens, SigningKeys, google_certificates
        from common.identity.members import LivingOnly

        verifiers: list[Verifier] = []
        if project := self.settings.firebase_project or self.settings.google_project:
            keys = SigningKeys(lambda: google_certificates(self.egress)(), clock=self.clock)
            verifiers.append(FirebaseTokens(project, keys, clock=self.clock))
        if self.development:
            verifiers.append(self.development)
        if not verifiers:
            raise Misconfigured("Nobody can sign in: set ODAI_FIREBASE_PROJECT.")
        return LivingOnly(AnyOf(*verifiers), self.members)

    @cached_property
    def tickets(self) -> Tickets:
        """Makes and redeems one-time tickets."""
        from common.identity import Tickets

        return Tickets(self.store, clock=self.clock)

    @cached_property
    def blind(self) -> BlindIndex:
        """Hashes what can be guessed, under a key."""
        from common.identity.blind import BlindIndex

        return BlindIndex(self.store, self.vault)

    @cached_property
    def limits(self) -> Limits:
        """Counts what may be done only so often."""
        from common.identity.limits import Limits

        return Limits(self.store, self.blind, clock=self.clock)

    @cached_property
    def members(self) -> Members:
        """Tells who may use the product."""
        from common.identity.members import Members

        return Members(self.store, clock=self.clock, require_terms=self.settings.production)

    @cached_property
    def phones(self) -> Phones:
        """Proves phone numbers and finds whose they are."""
        from common.identity.phones import Phones
        from common.identity.texts import Texts

        texts = Texts(self.egress, self.settings.secret)
        return Phones(
            self.store, self.vault, self.blind, self.limits, send=texts.send, clock=self.clock
        )

    @cached_property
    def phone_book(self) -> PhoneBook:
        """Tells whose telephone it is."""
        from common.assistant.phone_book import PhoneBook

        return PhoneBook(
            self.store, self.vault, self.blind, self.members,
            guests=self.settings.phone_guests, clock=self.clock,
        )  # fmt: skip

    @cached_property
    def calls(self) -> Calls:
        """Keeps calls."""
        from common.assistant.calls import Calls

        return Calls(self.store, clock=self.clock)

    @cached_property
    def texts(self) -> Texts:
        """Keeps texts and has them answered."""
        from common.assistant.texts import Texts

        return Texts(self.store, self.vault, self._errands, clock=self.clock)

    @cached_property
    def twilio(self) -> TwilioApi:
        """Twilio's REST API."""
        from common.assistant.twilio_api import TwilioApi

        return TwilioApi(lambda: self.egress, self.settings.secret)

    @cached_property
    def answering(self) -> Answering:
        """Asks chats without a socket; loads what `turns` does."""
        from common.assistant.answering import Answering

        return Answering(self.turns, self.chats)

    @cached_property
    def pins(self) -> Pins:
        """Keeps the PINs of callers."""
        from common.identity.pins import Pins

        return Pins(self.store, self.vault, clock=self.clock)

    @cached_property
    def banks(self) -> Banks:
        """Links banks and reads them."""
        from common.plaid_items import Banks, PlaidApi

        return Banks(
            self.store, self.vault, PlaidApi(lambda: self.egress, self.settings.secret), self.blind,
            clock=self.clock, webhook=f"{self.settings.base_url}/auth/plaid/webhook",
            redirect_uri=self.settings.secret("PLAID_REDIRECT_URI") or "",
        )  # fmt: skip

    @cached_property
    def bank_webhook_keys(self) -> WebhookKeys:
        """The keys that sign Plaid's webhooks."""
        from common.plaid_items import WebhookKeys

        return WebhookKeys(self.banks.api.webhook_key, clock=self.clock)

    @property
    def revokers(self) -> list[Callable[[str], Awaitable[None]]]:
        """What ends a user's links at other services; each may be called again."""
        return [self.banks.remove_all, self.links.unlink_all]

    @cached_property
    def chats(self) -> Chats:
        """Reads and writes chats."""
        from common.assistant.chats import Chats

        return Chats(
            self.store, self.vault, clock=self.clock, instance=self.instance, gone=self._gone
        )

    @cached_property
    def usage(self) -> Usage:
        """Reads what users spent."""
        from common.assistant.usage import Usage

        return Usage(self.store, clock=self.clock)

    @cached_property
    def budgets(self) -> Budgets:
        """Keeps users within what they may spend."""
        from common.assistant.budgets import Budgets, Caps
        from common.assistant.usage import OPENAI_PRICES, Prices

        settings = self.settings
        theirs = "" if settings.openai_base_url else OPENAI_PRICES  # another endpoint: who knows
        prices = Prices() if settings.offline else Prices.parse(settings.prices or theirs)
        return Budgets(
            self.store, prices, model="offline" if settings.offline else settings.model,
            voice_model=settings.voice_model, clock=self.clock,
            caps=Caps.parse(settings.daily_soft, settings.daily_hard, settings.daily_task),
        )  # fmt: skip

    @cached_property
    def memories(self) -> Memories:
        """Keeps what users asked to be remembered."""
        from common.assistant.memories import Memories

        return Memories(self.store, self.vault, clock=self.clock)

    @cached_property
    def schedules(self) -> Schedules:
        """Keeps what is to happen later."""
        from common.assistant.schedules import Schedules
        from common.assistant.texting import Texting

        able = self.settings.secret("TWILIO_AUTH_TOKEN") is not None
        return Schedules(
            self.store, self.vault, self.tasks, clock=self.clock,
            jobs=lambda: self.jobs, runner=lambda: self.runner,
            texting=Texting(self.texts, self.phone_book, lambda: self.twilio.ours)
            if able else None,
        )  # fmt: skip

    def schedules_for(self, asker: Asker) -> UserSchedules:
        """Return the schedules of `asker`, as tools see them."""
        from common.assistant.scheduling import UserSchedules

        return UserSchedules(self.schedules, self.runner, asker, clock=self.clock)

    @cached_property
    def history(self) -> History:
        """Reads past chats."""
        from common.assistant.history import History

        return History(self.store, self.vault)

    @cached_property
    def model(self) -> Model:
        """The language model, or the offline planner."""
        from common.llm.provider import open_model

        return open_model(self.settings, self.registry, self.clock)

    @cached_property
    def small_model(self) -> PaidModel | None:
        """The model behind titles and suggestions, on users' budgets; None where rules do it."""
        from common.assistant.paid import PaidModel
        from common.llm.plain import PlainModel

        settings = self.settings
        if settings.offline or settings.small_model == "off":
            return None
        plain = PlainModel(
            self.egress,
            model=settings.model if settings.small_model == "same" else settings.small_model,
            key=settings.openai_api_key, base_url=settings.openai_base_url, api=settings.model_api,
        )  # fmt: skip
        return PaidModel(plain, self.budgets)

    @cached_property
    def titles(self) -> Titles:
        """Names chats."""
        from common.assistant.titles import Titles

        return Titles(self.chats, self.small_model)

    @cached_property
    def unhandled(self) -> UnhandledRequests:
        """Keeps what could not be done."""
        from common.assistant.unhandled import UnhandledRequests

        return UnhandledRequests(self.store, self.vault, clock=self.clock)

    @cached_property
    def closing(self) -> Closing:
        """Thinks about turns that have ended."""
        from common.assistant.closing import Closing
        from common.assistant.suggestions import Reach

        reach = Reach(
            self.settings.secret, is_owner=self.settings.is_owner,
            accounts_of=lambda uid: self.linked.of(uid),
            banks_of=lambda uid: self.banks.listed(uid),
        )  # fmt: skip
        return Closing(
            self.chats, self.small_model, registry=self.registry, router=self.router,
            reach=reach, unhandled=self.unhandled, analytics=self.analytics,
        )  # fmt: skip

    @cached_property
    def analytics(self) -> Analytics:
        """Tells product analytics what happened, behind everybody's back."""
        from common.events.facts import Analytics

        return Analytics(self.events, self.loop.loop, clock=self.clock)

    @cached_property
    def segment(self) -> Segment | None:
        """Forwards facts to Segment; None without its write key."""
        from common.assistant.analytics import Segment

        key = self.settings.secret("SEGMENT_WRITE_KEY")
        return Segment(self.egress, key) if key else None

    @cached_property
    def orchestrator(self) -> Orchestrator:
        """Makes the agents of a turn or a call."""
        from common.assistant.orchestrator import Orchestrator

        return Orchestrator(self.registry, self.router, self.model)

    @cached_property
    def turns(self) -> Turns:
        """Answers prompts. Loads `agents` and `openai` (2 s, 100 MB): the container alone does."""
        from common.assistant.conduct import Conductor
        from common.assistant.turn import Means
        from common.assistant.turns import Turns
        from common.background import Background
        from common.llm.provider import model_settings

        background = Background()
        means = Means(
            self.runner, self.jobs, self.approvals, self.audit, self.budgets, self.memories,
            self.schedules,
        )  # fmt: skip
        conductor = Conductor(
            chats=self.chats,
            router=self.router,
            orchestrator=self.orchestrator,
            means=means,
            events=self.events,
            closing=self.closing,
            analytics=self.analytics,
            clock=self.clock,
            model_settings=model_settings(),
            background=background,
        )
        return Turns(
            conductor=conductor, chats=self.chats, means=means, closing=self.closing,
            background=background,
        )  # fmt: skip

    @classmethod
    def of_process(cls) -> Services:
        """Return this process's services, made from its environment on first use."""
        if cls._of_process is None:
            services = cls(Settings.from_env(os.environ), LoopThread())
            if not services.settings.local:
                log.configure(
                    project=services.settings.google_project, level=services.settings.log_level
                )
            services.observe()
            services.adopt()
        assert cls._of_process is not None
        return cls._of_process

    def observe(self) -> None:
        """Send traces and errors where the settings say; loads nothing where they name no place."""
        if self.settings.traces or self.settings.sentry_dsn:
            from common import telemetry  # 0.1 s of OpenTelemetry

            self.telemetry = telemetry.start(self.settings, self.loop, self._google)

    def adopt(self) -> None:
        """Be the services of this process, for its functions."""
        Services._of_process = self

    async def start_tasks(self) -> None:
        """Let this process deliver what the embedded queue holds."""
        from common.tasks.embedded import EmbeddedTasks

        if isinstance(self.tasks, EmbeddedTasks):
            self.tasks.start()

    def sign_call(self) -> str:
        """Return the Authorization header with which the embedded queue calls our functions."""
        from common.identity import LocalCallers

        if not isinstance(self.callers, LocalCallers):
            raise Misconfigured("Only the embedded backend signs its own calls.")
        return self.callers.sign()

    def close(self) -> None:
        """Close what was opened, then end the loop."""
        if self.telemetry:
            self.telemetry.close()
        order = (
            "jobs", "tasks", "_text_tasks", "closing", "analytics", "model", "events", "egress",
            "store", "keys", "presence",
        )  # fmt: skip
        for name in order:
            if (part := self.__dict__.get(name)) and hasattr(part, "close"):
                self.loop.run(part.close(), timeout=5.0)
        self.loop.stop()

    @property
    def _gone(self) -> Callable[[str], bool]:
        return self.presence.gone if self.presence else unknown

    async def _deliver(self, delivery: Delivery) -> Response:
        if self.deliver is None:
            raise Misconfigured("This process delivers no tasks: use `python -m run.local serve`.")
        return await self.deliver(delivery)

    @property
    def _project(self) -> str:
        return self.settings.google_project or EMULATED_PROJECT

    def _google(self, emulator: str | None = None) -> GoogleRest:
        from common.google_rest import DefaultToken, GoogleRest

        if emulator:
            return GoogleRest(root=f"http://{emulator}")
        return GoogleRest(token=DefaultToken())
