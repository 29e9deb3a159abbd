"""What `doctor` looks at where the backend is Google's: is what Terraform made what the code needs?

Asked with the operator's own account, through the same session as the adapters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from common.bootstrap import Services
from common.errors import Misconfigured, OdaiError
from common.google_rest import DefaultToken, GoogleRefusal, GoogleRest
from common.keys.secret_manager import read_secrets
from common.settings import Settings
from common.store.indexes import Index, load_indexes
from run.local.checks import Finding
from run.local.cloud import ROOT, facts

INDEXES = ROOT / "terraform" / "firestore.indexes.json"


async def google_checks(services: Services, api: GoogleRest | None = None) -> list[Finding]:
    """Return what is found of queues, topics, secrets and indexes."""
    google = api or GoogleRest(token=DefaultToken())
    settings, wanted = services.settings, facts()
    names = [*wanted["connector_secrets"], *wanted["container_secrets"]]
    try:
        found = await asyncio.gather(
            *(_queue(settings, name, queue, google) for name, queue in wanted["queues"].items()),
            *(_topic(settings, name, google) for name in wanted["topics"]),
            _secrets(settings, names, google),
            _indexes(settings, google),
        )
    finally:
        if api is None:
            await google.close()
    return list(found)


async def _queue(
    settings: Settings, name: str, wanted: Mapping[str, Any], google: GoogleRest
) -> Finding:
    place = f"projects/{settings.google_project}/locations/{settings.google_location}"
    what = f"queue {name}"
    try:
        queue = await google.call("cloudtasks", "GET", f"/v2/{place}/queues/{name}")
    except (GoogleRefusal, OdaiError) as err:
        return Finding(what, f"{_said(err)}: apply Terraform", broken=True)
    if (state := queue.get("state", "RUNNING")) != "RUNNING":
        return Finding(what, f"is {state.lower()}: resume it", broken=True)
    limits = queue.get("rateLimits", {})
    rate, most = limits.get("maxDispatchesPerSecond"), limits.get("maxConcurrentDispatches")
    if (rate, most) != (wanted["per_second"], wanted["concurrency"]):
        said = f"{rate}/s, {most} at once; the code wants {wanted['per_second']}/s, "
        return Finding(what, f"{said}{wanted['concurrency']}: apply Terraform", broken=True)
    return Finding(what, f"{rate}/s, {most} at once")


async def _topic(settings: Settings, name: str, google: GoogleRest) -> Finding:
    path = f"/v1/projects/{settings.google_project}/topics/{name}"
    try:
        await google.call("pubsub", "GET", path)
    except (GoogleRefusal, OdaiError) as err:
        return Finding(f"topic {name}", f"{_said(err)}: apply Terraform", broken=True)
    return Finding(f"topic {name}", "exists")


async def _secrets(settings: Settings, names: list[str], google: GoogleRest) -> Finding:
    try:
        values = await read_secrets(names, settings.google_project, api=google)
    except OdaiError as err:
        return Finding("secrets", str(err), broken=True)
    if missing := sorted(set(names) - set(values)):
        return Finding("secrets", f"not made: {', '.join(missing)}; apply Terraform", broken=True)
    blank = sorted(name for name, value in values.items() if not value.strip())
    said = f"{len(values) - len(blank)} of {len(values)} have a value"
    return Finding("secrets", f"{said}; blank: {', '.join(blank)}" if blank else said, ok=not blank)


async def _indexes(settings: Settings, google: GoogleRest) -> Finding:
    database = f"projects/{settings.google_project}/databases/(default)"
    try:
        answer = await google.call("firestore", "GET", f"/v1/{database}/collectionGroups/-/indexes")
    except (GoogleRefusal, OdaiError) as err:
        return Finding("indexes", _said(err), broken=True)
    ready = [_index(each) for each in answer.get("indexes", []) if each.get("state") == "READY"]
    wanted = [index for index in load_indexes(INDEXES) if len(index.fields) > 1]
    missing = [w for w in wanted if not any(w.is_served_by(have) for have in ready)]
    if missing:
        names = ", ".join(f"{w.collection} by {w.fields[-1][0]}" for w in missing)
        return Finding("indexes", f"not ready: {names}", broken=True)
    return Finding("indexes", f"{len(wanted)} ready")


def _index(made: Mapping[str, Any]) -> Index:
    fields = [
        (field["fieldPath"], "desc" if field.get("order") == "DESCENDING" else "asc")
        for field in made.get("fields", []) if field["fieldPath"] != "__name__"
    ]  # fmt: skip
    anywhere = made.get("queryScope") == "COLLECTION_GROUP"
    return Index(made["name"].split("/")[5], anywhere, tuple(fields))


def _said(err: GoogleRefusal | OdaiError) -> str:
    if isinstance(err, GoogleRefusal):
        return "does not exist" if err.code == "NOT_FOUND" else err.code
    return str(err) if isinstance(err, Misconfigured) else err.code
