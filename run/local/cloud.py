"""What Terraform must know of the code: queues, topics, secrets, collections that expire.

`python -m run.local docs` writes it to `terraform/from_code.json`, and a test says when that is out
of date. What a function needs stands in its function.yaml, which Terraform reads itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from common.assistant.jobs import FOLLOW_UP_PATH, FOLLOW_UPS, WORKER_PATH, queues
from common.assistant.schedules import DUE_PATH
from common.assistant.texts import TEXTS, TEXTS_PATH
from common.events import TOPICS
from common.oauth.providers import PROVIDERS
from common.store.expiring import EXPIRING
from common.tools import Registry
from run.local.functions import FOLDER, declared, function_names

ROOT: Final = FOLDER.parent
FACTS: Final = ROOT / "terraform" / "from_code.json"

_CONTAINER_SECRETS: Final = ("OPENAI_API_KEY",)
# Keys that connectors use where they are set, and do without where they are not.
_OPTIONAL_SECRETS: Final = (
    "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN", "IPINFO_TOKEN", "OPEN_METEO_API_KEY",
    "SEARXNG_AUTHORIZATION", "TAVILY_API_KEY",
)  # fmt: skip

# What `uses` in function.yaml grants, for the table in docs/operations.md; iam.tf and its like say
# the same to Google, and a test compares the two.
GRANTS: Final = {
    "store": (("roles/datastore.user", "the project", "read and write documents"),),
    "keys": (
        ("roles/cloudkms.cryptoKeyEncrypterDecrypter", "the key `users`", "wrap data keys"),
    ),
    "tasks": (
        ("roles/cloudtasks.enqueuer", "each queue", "have slow calls and follow-ups made"),
        ("roles/iam.serviceAccountUser", "the account `odai-invoker`", "name it in a task"),
    ),
    "events": (("roles/pubsub.publisher", "each topic", "tell what happened"),),
}  # fmt: skip
_EVERY: Final = ("roles/cloudtrace.agent", "the project", "send traces")


def facts() -> dict[str, Any]:
    """Return what `from_code.json` holds."""
    registry = Registry.discover()
    manifests = {name for entry in registry.entries.values() for name in entry.connector.secrets}
    clients = {f"{p.keys}_CLIENT_{half}" for p in PROVIDERS.values() for half in ("ID", "SECRET")}
    return {
        "connector_secrets": sorted(manifests | clients | set(_OPTIONAL_SECRETS)),
        "container_secrets": sorted(_CONTAINER_SECRETS),
        "expiring": list(EXPIRING),
        "inner_paths": sorted((DUE_PATH, FOLLOW_UP_PATH, TEXTS_PATH, WORKER_PATH)),
        "queues": {
            queue.name: {
                "concurrency": queue.concurrency,
                "max_attempts": queue.max_attempts,
                "max_backoff_s": queue.max_backoff_s,
                "min_backoff_s": queue.min_backoff_s,
                "per_second": queue.per_second,
                "target": "container" if queue in (FOLLOW_UPS, TEXTS) else "worker",
            }
            for queue in (*queues(registry), TEXTS)
        },
        "topics": sorted(TOPICS),
    }


def facts_text() -> str:
    """Return the text of `from_code.json`."""
    return json.dumps(facts(), indent=2, sort_keys=True) + "\n"


def access_table() -> str:
    """Return who may do what, as a Markdown table."""
    uses = {"chat-stream (the container)": ("store", "keys", "tasks", "events")}
    secrets = {"chat-stream (the container)": "every secret"}
    for name in function_names():
        function = declared(name)
        account = f"fn-{name.replace('_', '-')}"
        uses[account] = tuple(function.get("uses", ("store", "keys")))
        wanted = function.get("secrets", [])
        secrets[account] = (
            "every connector's" if wanted == "connectors" else ", ".join(f"`{s}`" for s in wanted)
        )
    lines = ["| account | role | on | to |", "| --- | --- | --- | --- |"]
    for account, parts in uses.items():
        for role, where, why in (*(g for part in parts for g in GRANTS[part]), _EVERY):
            lines.append(f"| {account} | `{role}` | {where} | {why} |")
        if secrets[account]:
            reader = "`roles/secretmanager.secretAccessor`"
            lines.append(f"| {account} | {reader} | {secrets[account]} | read keys |")
    return "\n".join(lines)


def rewrite(document: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- mark -->` and `<!-- /mark -->` in `document`."""
    before, rest = document.read_text().split(f"<!-- {mark} -->")
    after = rest.partition(f"<!-- /{mark} -->")[2]
    document.write_text(f"{before}<!-- {mark} -->\n{text}\n<!-- /{mark} -->{after}")
