"""The composition root: from settings to services. The only place that picks adapters.

Everything is made on first use, so that a function loads only what it touches: an OAuth callback
never imports a model library, and a title never imports KMS unless it unseals something.
"""

from __future__ import annotations

import secrets
import socket
from functools import cached_property
from typing import TYPE_CHECKING

from common.documents import now
from common.errors import Misconfigured
from common.loop import LoopThread
from common.settings import Settings

if TYPE_CHECKING:
    from common.assistant.chats import Chats
    from common.assistant.routing import Router
    from common.assistant.turns import Turns
    from common.egress import Egress
    from common.events import Events
    from common.identity import DevelopmentTokens, Tickets, Verifier
    from common.keys import KeyWrapper
    from common.store import Store
    from common.tools import Registry, ToolRunner
    from common.vault import Vault


class Services:
    """What the entry points use, each made once. `loop` runs every coroutine of the process."""

    def __init__(self, settings: Settings, loop: LoopThread) -> None:
        self.settings = settings
        self.loop = loop
        self.clock = now
        self.instance = f"{socket.gethostname()}-{secrets.token_hex(4)}"

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

        return Egress(host_map=self.settings.egress_map)

    @cached_property
    def runner(self) -> ToolRunner:
        """Runs tools."""
        from common.tools import ToolRunner

        return ToolRunner(self.registry, self.egress, secret=self.settings.secret, clock=self.clock)

    @cached_property
    def store(self) -> Store:
        """The document store."""
        from common.store.sqlite import SqliteStore

        self._embedded_only("store")
        return SqliteStore.open(self.settings.data_dir / "store.sqlite")

    @cached_property
    def keys(self) -> KeyWrapper:
        """Wraps users' data keys."""
        from common.keys.local import LocalKeys

        self._embedded_only("keys")
        return LocalKeys.open(self.settings.data_dir)

    @cached_property
    def vault(self) -> Vault:
        """Seals what is secret."""
        from common.vault import Vault

        return Vault(self.store, self.keys, clock=self.clock)

    @cached_property
    def events(self) -> Events:
        """Carries facts to whoever listens."""
        from common.events.embedded import EmbeddedEvents

        self._embedded_only("events")
        return EmbeddedEvents()

    @cached_property
    def development(self) -> DevelopmentTokens | None:
        """Makes and checks development tokens; None in production."""
        from common.identity import DevelopmentTokens

        if self.settings.production:
            return None
        return DevelopmentTokens.open(self.settings.data_dir, production=False, clock=self.clock)

    @cached_property
    def verifier(self) -> Verifier:
        """Checks users' tokens: Firebase's, and outside production the development ones."""
        from common.identity import AnyOf, FirebaseTokens, SigningKeys, google_certificates

        verifiers: list[Verifier] = []
        if project := self.settings.firebase_project or self.settings.google_project:
            keys = SigningKeys(google_certificates(self.egress), clock=self.clock)
            verifiers.append(FirebaseTokens(project, keys, clock=self.clock))
        if self.development:
            verifiers.append(self.development)
        if not verifiers:
            raise Misconfigured("Nobody can sign in: set ODAI_FIREBASE_PROJECT.")
        return AnyOf(*verifiers)

    @cached_property
    def tickets(self) -> Tickets:
        """Makes and redeems one-time tickets."""
        from common.identity import Tickets

        return Tickets(self.store, clock=self.clock)

    @cached_property
    def chats(self) -> Chats:
        """Reads and writes chats."""
        from common.assistant.chats import Chats

        return Chats(self.store, self.vault, clock=self.clock, instance=self.instance)

    @cached_property
    def turns(self) -> Turns:
        """Answers prompts. Loads `agents` and `openai` (2 s, 100 MB): the container alone does."""
        from common.assistant.orchestrator import Orchestrator
        from common.assistant.turns import Turns
        from common.llm.provider import open_model

        model = open_model(self.settings, self.registry, self.clock)
        return Turns(
            chats=self.chats,
            router=self.router,
            orchestrator=Orchestrator(self.registry, self.router, model),
            runner=self.runner,
            events=self.events,
            clock=self.clock,
        )

    def close(self) -> None:
        """Close what was opened, then end the loop."""
        for name in ("turns", "events", "tasks", "egress", "store", "keys"):
            if (part := self.__dict__.get(name)) and hasattr(part, "close"):
                self.loop.run(part.close(), timeout=5.0)
        self.loop.stop()

    def _embedded_only(self, part: str) -> None:
        if self.settings.backend != "embedded":
            raise Misconfigured(f"ODAI_BACKEND=google has no {part} adapter yet: use embedded.")
