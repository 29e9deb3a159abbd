"""What the code uses exists in Terraform; what it does not use is not made."""

from __future__ import annotations

import ast
import functools
import json
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.assistant.jobs import FOLLOW_UPS, queues
from common.assistant.texts import TEXTS
from common.bootstrap import Services
from common.errors import NotAuthenticated
from common.events import TOPICS
from common.settings import settings_table
from common.store import Query
from common.store.expiring import EXPIRING
from common.store.indexes import load_indexes, missing_indexes, required_index
from common.tools import Registry
from run.chat_stream.__main__ import with_functions
from run.local.cloud import FACTS, GRANTS, facts_text
from run.local.functions import declared, function_names
from tests.terraform.configuration import FOLDER, ROOT, TERRAFORM, evaluate, resources, text

CODE = [p for part in ("common", "run", "functions") for p in sorted((ROOT / part).rglob("*.py"))]
INDEXES = FOLDER / "firestore.indexes.json"
with_terraform = pytest.mark.skipif(
    TERRAFORM is None, reason="Terraform is not installed: cloudbuild.yaml computes these"
)

# Read like keys, and no secrets: an operator gives them as `settings` in a .tfvars file.
PLAIN = {
    "PLAID_ENV", "PLAID_REDIRECT_URI", "ODAI_DOCTOR_ACCOUNT", "ODAI_FIREBASE_API_KEY", "ODAI_TOKEN",
    "WEB_PAGES_IGNORE_ROBOTS", "ALPACA_LIVE", "AMADEUS_HOST", "INSTACART_DEVELOPMENT",
    "MOVIEGLU_TERRITORY",
}  # fmt: skip

# Where the code writes documents with `expires_at`, and into which collections.
WRITES_EXPIRING = {
    "common/assistant/approvals.py": {"approvals"},
    "common/assistant/calls.py": {"calls", "active_calls", "planned_calls"},
    "common/assistant/chats.py": {"prompts"},
    "common/assistant/jobs.py": {"jobs"},
    "common/assistant/schedules.py": {"schedules"},
    "common/assistant/texts.py": {"texts", "text_lines"},
    "common/assistant/unhandled.py": {"unhandled_requests"},
    "common/identity/limits.py": {"limits"},
    "common/identity/phones.py": {"phone_codes"},
    "common/identity/tickets.py": {"tickets"},
    "common/oauth/states.py": {"oauth_states"},
    "common/plaid_items/banks.py": {"link_sessions"},
    "common/tools/pacing.py": {"paces"},
    "run/chat_stream/phone.py": {"approval_codes"},
}
# These say `expires_at` of something that is not stored.
SAYS_EXPIRING = {"common/connectors/plaid_connector.py"}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Terraform computes."""
    return tmp_path_factory.mktemp("terraform")


# --- functions, queues, topics ------------------------------------------------------------------


def test_what_terraform_knows_of_the_code_is_current() -> None:
    """After a change of queues, topics or keys, `make docs` writes from_code.json anew."""
    assert FACTS.read_text() == facts_text()


@pytest.mark.parametrize("name", function_names())
def test_a_function_says_what_terraform_needs(name: str) -> None:
    """A function.yaml has every field the deployment reads, in the form Google wants."""
    function = declared(name)
    known = {
        "description", "memory", "timeout", "concurrency", "invoker", "secrets", "paths", "uses",
        "trigger", "min_instances", "max_instances",
    }  # fmt: skip
    assert set(function) <= known
    assert re.fullmatch(r"\d+(Mi|Gi)", function["memory"])
    assert 1 <= function["timeout"] <= 3600 and 1 <= function["concurrency"] <= 1000
    assert function["invoker"] in ("public", "platform")
    assert len(f"fn-{name.replace('_', '-')}") <= 30  # a service account's id
    assert set(function.get("uses", ())) <= set(GRANTS)
    trigger = function.get("trigger", {})
    listens = trigger.get("topic", [])
    assert listens == "*" or set([listens] if isinstance(listens, str) else listens) <= set(TOPICS)
    if trigger:
        assert function["invoker"] == "platform"  # nobody else may pretend to be our topic


@with_terraform
def test_every_function_is_deployed_and_nothing_else(folder: Path) -> None:
    """Each folder with a function.yaml is a function with an account of its own."""
    names = evaluate(folder, "keys(local.functions)")
    assert names == function_names()
    assert set(evaluate(folder, "keys(local.uses_of)")) == {*names, "container"}
    urls = evaluate(folder, "local.function_urls")
    assert all("_" not in url for url in urls.values())  # Cloud Run's names have hyphens


def test_every_queue_of_the_code_is_made_at_its_own_pace() -> None:
    """A slow call finds its vendor's queue; the follow-ups' leads to the container."""
    made = json.loads(FACTS.read_text())["queues"]
    wanted = {queue.name: queue for queue in (*queues(Registry.discover()), TEXTS)}
    assert set(made) == set(wanted)
    assert {name: q["per_second"] for name, q in made.items()} == {
        name: queue.per_second for name, queue in wanted.items()
    }
    to_container = {n for n, q in made.items() if q["target"] == "container"}
    assert to_container == {FOLLOW_UPS.name, TEXTS.name}
    assert all(re.fullmatch("[a-zA-Z0-9-]{1,100}", name) for name in made)
    assert all(0 < q["per_second"] <= 500 and 0 < q["concurrency"] <= 5000 for q in made.values())


def test_every_topic_published_to_is_declared() -> None:
    """An event never meets a topic that does not exist."""
    published = {
        node.args[0].value
        for path in CODE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Event"
        and node.args and isinstance(node.args[0], ast.Constant)
    }  # fmt: skip
    assert published <= set(TOPICS)
    assert {path.stem for path in (FOLDER / "schemas").glob("*.json")} <= set(TOPICS)


@with_terraform
def test_every_listening_function_has_its_subscription(folder: Path) -> None:
    """A function that names a topic is pushed its events, by the right address."""
    made = evaluate(folder, "local.subscriptions", keys_set='["SEGMENT_WRITE_KEY"]')
    wanted = set()
    for name in function_names():
        listens = declared(name).get("trigger", {}).get("topic", [])
        topics = TOPICS if listens == "*" else [listens] if isinstance(listens, str) else listens
        wanted |= {(name, topic) for topic in topics}
    assert {(each["name"], each["topic"]) for each in made.values()} == wanted
    without = evaluate(folder, "local.subscriptions")
    assert "analytics_sink" not in {each["name"] for each in without.values()}


@with_terraform
def test_the_load_balancer_keeps_every_path(folder: Path) -> None:
    """Each public function answers at its name and its declared paths; no two at the same one."""
    made = evaluate(folder, "local.function_paths", domain="odai.example.com")
    every = [path for paths in made.values() for path in paths]
    assert len(every) == len(set(every))
    for name in function_names():
        if declared(name)["invoker"] == "public":
            for path in (f"/{name}", *declared(name).get("paths", ())):
                assert {path, f"{path}/*"} <= set(made[name])
        else:
            assert name not in made
    ours = ("/chats", "/tickets", "/client", "/static", "/follow_ups", "/test", "/healthz")
    assert not [path for path in every if path.removesuffix("/*") in ours]


# --- secrets and settings -----------------------------------------------------------------------


@with_terraform
def test_every_key_the_code_reads_is_a_secret(folder: Path) -> None:
    """Whatever the code reads as a key can be set; what it never reads is not made."""
    made = set(evaluate(folder, "local.container_secrets"))
    read = set(_keys_read()) - PLAIN
    assert read <= made
    every = "\n".join(path.read_text() for path in CODE if path.name != "cloud.py")
    by_provider = re.compile("_CLIENT_(ID|SECRET)$")
    unread = {name for name in made - read if f'"{name}"' not in every}
    assert {name for name in unread if not by_provider.search(name)} == set()


@with_terraform
def test_a_function_reads_only_its_own_keys(folder: Path) -> None:
    """A function's account may read the secrets its function.yaml lists, and no others."""
    made = evaluate(folder, "local.secrets_of")
    everything = set(json.loads(FACTS.read_text())["connector_secrets"])
    for name in function_names():
        listed = declared(name).get("secrets", [])
        listed = [listed] if isinstance(listed, str) else listed
        extra = everything if "connectors" in listed else set()
        assert set(made[name]) == (set(listed) - {"connectors"}) | extra


def test_no_value_of_a_secret_is_in_the_configuration() -> None:
    """Secrets are named here and filled elsewhere: the one version made is blank and write-only."""
    for each in resources():
        assert "secret_data" not in each.body, each
        if "secret_data_wo" in each.body:
            assert text(each.body["secret_data_wo"]).strip() == ""


@with_terraform
@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_what_the_services_are_told_are_settings(folder: Path, environment: str) -> None:
    """Every variable given is one the code knows; all that the google backend needs is given."""
    known = {name for name, _, _ in settings_table()}
    told = evaluate(folder, "local.settings", environment=environment)
    assert set(told) <= known
    needed = {"GOOGLE_CLOUD_PROJECT", "ODAI_INVOKER", "ODAI_PUBLIC_URL", "ODAI_KMS_KEY"}
    assert needed <= set(told)
    assert (told["ODAI_BACKEND"], told["ODAI_ENV"]) == ("google", "production")
    extra = "".join((FOLDER / name).read_text() for name in ("cloud_run.tf", "functions.tf"))
    assert set(re.findall(r"\b(ODAI_[A-Z_]+)\b", extra)) <= known


def _keys_read() -> Iterator[str]:
    for path in CODE:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if called in ("secret", "_secret", "secrets") and isinstance(first, ast.Constant):
                yield first.value


# --- the database -------------------------------------------------------------------------------


def test_everything_that_expires_is_removed() -> None:
    """Collections whose documents carry `expires_at` have a TTL policy; no others do."""
    writing = {
        str(path.relative_to(ROOT))
        for path in CODE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and key.value == "expires_at"
    } | {
        str(path.relative_to(ROOT))
        for path in CODE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
        and isinstance(node.slice, ast.Constant) and node.slice.value == "expires_at"
    }  # fmt: skip
    assert writing - SAYS_EXPIRING == set(WRITES_EXPIRING)
    assert set().union(*WRITES_EXPIRING.values()) == set(EXPIRING)


def test_every_query_of_the_code_has_its_index() -> None:
    """Production refuses a query whose index is missing; the emulator runs it all the same."""
    found = list(_queries())
    assert len(found) > 20
    indexes = load_indexes(INDEXES)
    assert missing_indexes(found, indexes) == []
    needed = [index for query in found if (index := required_index(query))]
    unused = [have for have in indexes if not any(need.is_served_by(have) for need in needed)]
    assert unused == []


def test_a_query_without_its_index_is_found() -> None:
    """The check itself can fail."""
    source = 'Query("chats", where=(("owner", "==", uid),), order_by=(("title", "asc"),))'
    (query,) = _queries_in(ast.parse(source))
    assert missing_indexes([query], load_indexes(INDEXES))


def _queries() -> Iterator[Query]:
    for path in CODE:
        if "store" not in path.parts:
            yield from _queries_in(tree(path))


def _queries_in(module: ast.Module) -> Iterator[Query]:
    """Yield what each `Query(…)` may become: one for each branch of its conditions."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "Query":
            continue
        given = dict(zip(("collection", "where", "order_by"), node.args, strict=False))
        given |= {word.arg: word.value for word in node.keywords if word.arg}
        for where in _conditions(given.get("where"), module):
            orders = _literal(given.get("order_by"))
            yield Query(
                _collection(given["collection"]),
                where=tuple((f, op, [0] if op == "in" else 0) for f, op, *_ in where),
                order_by=tuple((field, direction) for field, direction in orders),
                all_groups=bool(_constant(given.get("all_groups"))),
            )


def _conditions(node: ast.expr | None, module: ast.Module) -> list[list[Any]]:
    if isinstance(node, ast.IfExp):
        return [*_conditions(node.body, module), *_conditions(node.orelse, module)]
    if isinstance(node, ast.Name):
        values = [
            assign.value for assign in ast.walk(module)
            if isinstance(assign, ast.Assign)
            and any(getattr(target, "id", "") == node.id for target in assign.targets)
        ]  # fmt: skip
        return [found for value in values for found in _conditions(value, module)] or [[]]
    return [_literal(node)]


def _literal(node: ast.expr | None) -> list[Any]:
    """Return a tuple of tuples with `?` where the code puts in a variable."""
    if not isinstance(node, ast.Tuple):
        return []
    return [
        [_constant(e) or "?" for e in row.elts] for row in node.elts if isinstance(row, ast.Tuple)
    ]


def _constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _collection(node: ast.expr) -> str:
    """Return the collection's name, as well as the source tells it."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[-1]
    if isinstance(node, ast.Constant):
        return str(node.value).rpartition("/")[2]
    if isinstance(node, ast.Call):
        return str(getattr(node.func, "attr", getattr(node.func, "id", "unknown"))).strip("_")
    return "unknown"


# --- what deployed services are -----------------------------------------------------------------

GOOGLE = {
    "ODAI_BACKEND": "google", "GOOGLE_CLOUD_PROJECT": "p-1", "ODAI_INVOKER": "i@p-1.iam",
    "ODAI_PUBLIC_URL": "https://odai.example.com", "ODAI_KMS_KEY": "projects/p-1/key",
}  # fmt: skip


def test_no_deployment_lets_anybody_in_under_any_name(services: Callable[..., Services]) -> None:
    """Development sign-in is for a laptop, whatever the environment is called elsewhere."""
    assert services(**GOOGLE, ODAI_ENV="development").development is None
    assert services(ODAI_ENV="development").development is not None


def test_a_function_behind_cloud_runs_own_check_takes_its_word(
    services: Callable[..., Services],
) -> None:
    """Cloud Run takes signatures off tokens it has checked; others must bring theirs."""
    inner = services(**GOOGLE, ODAI_FUNCTIONS_URL="https://fn.example", ODAI_PLATFORM_CHECKS="true")
    claims = {
        "iss": "https://accounts.google.com", "aud": "https://fn.example", "email": "i@p-1.iam",
        "email_verified": True, "iat": int(time.time()), "exp": int(time.time()) + 600,
    }  # fmt: skip
    parts = [{"alg": "RS256"}, claims]
    encoded = [urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    token = f"Bearer {'.'.join(encoded)}.SIGNATURE_REMOVED_BY_GOOGLE"
    assert inner.loop.run(inner.callers.verify(token)) == "i@p-1.iam"
    outer = services(**GOOGLE, ODAI_FUNCTIONS_URL="https://fn.example")
    with pytest.raises(NotAuthenticated):
        outer.loop.run(outer.callers.verify(token))


def test_without_a_load_balancer_the_container_is_the_public_functions(
    services: Callable[..., Services],
) -> None:
    """Their paths are answered, the platform's functions are not there, chats are as always."""
    before = Services._of_process
    try:
        client = with_functions(services()).test_client()
        assert client.get("/healthz").status_code == 200
        for name in function_names():
            rules = {rule.rule for rule in client.application.url_map.iter_rules()}
            assert (f"/{name}" in rules) is (declared(name)["invoker"] == "public"), name
        assert client.get("/terms").status_code == 401  # the function's own answer
    finally:
        Services._of_process = before
