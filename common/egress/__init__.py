"""The one outbound HTTP client: every call to a vendor leaves through here.

A connector declares its hosts; this package lets it reach those and no others, bounds every wait
and every body, retries what may be retried, paces and breaks circuits per vendor, shares identical
reads, and maps every failure onto the error tree. Addresses that a user or a page names go through
`Egress.fetch_public`, which refuses anything that is not a public web server.
"""

from __future__ import annotations

from common.egress.client import Client, Egress, Policy, Reply
from common.egress.pace import Quota, Slots

__all__ = ["Client", "Egress", "Policy", "Quota", "Reply", "Slots"]
