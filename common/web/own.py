"""What the pages of a user's own (usage, memories, schedules, history) need of the services."""

from __future__ import annotations

from typing import Protocol

from common.assistant.audit import Audit
from common.assistant.budgets import Budgets
from common.assistant.chats import Chats
from common.assistant.history import History
from common.assistant.memories import Memories
from common.assistant.schedules import Schedules
from common.assistant.usage import Usage
from common.documents import Clock
from common.oauth import LinkedAccounts
from common.tools import Registry
from common.web.endpoint import EndpointServices


class OwnServices(EndpointServices, Protocol):
    """The part of the composition root that these pages use."""

    clock: Clock

    @property
    def audit(self) -> Audit: ...

    @property
    def budgets(self) -> Budgets: ...

    @property
    def chats(self) -> Chats: ...

    @property
    def history(self) -> History: ...

    @property
    def linked(self) -> LinkedAccounts: ...

    @property
    def memories(self) -> Memories: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def schedules(self) -> Schedules: ...

    @property
    def usage(self) -> Usage: ...
