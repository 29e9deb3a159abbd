"""Cloud KMS, Cloud Tasks and Secret Manager on loopback, over REST and gRPC at once.

None of the three has a usable emulator. Requests are parsed into the official libraries' own
protobuf types by their own routes, so that a field or path Google does not know fails here too,
and the official clients can talk to the same state over gRPC. Faults are asked for by name.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import jwt
from aiohttp import ClientSession, web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.cloud import kms_v1, secretmanager_v1, tasks_v2
from google.cloud.kms_v1.services.key_management_service.transports.rest_base import (
    _BaseKeyManagementServiceRestTransport as KmsRoutes,
)
from google.cloud.secretmanager_v1.services.secret_manager_service.transports.rest_base import (
    _BaseSecretManagerServiceRestTransport as SecretRoutes,
)
from google.cloud.tasks_v2.services.cloud_tasks.transports.rest_base import (
    _BaseCloudTasksRestTransport as TaskRoutes,
)
from google.protobuf import empty_pb2, json_format

from common.google_rest import crc32c

_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}
_LIMIT = 65_536
ENABLED = kms_v1.CryptoKeyVersion.CryptoKeyVersionState.ENABLED
DISABLED = kms_v1.CryptoKeyVersion.CryptoKeyVersionState.DISABLED
DESTROYED = kms_v1.CryptoKeyVersion.CryptoKeyVersionState.DESTROYED
DESTROY_SCHEDULED = kms_v1.CryptoKeyVersion.CryptoKeyVersionState.DESTROY_SCHEDULED


class Refused(Exception):
    """What a service answers instead of a result."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Method:
    service: str
    name: str
    request: Any
    answer: Callable[[Any], Any]
    routes: list[dict[str, str]]

    @property
    def grpc_path(self) -> str:
        package = self.request.pb().DESCRIPTOR.full_name.rpartition(".")[0]
        return f"/{package}.{self.service}/{self.name}"


class GoogleApis:
    """The server: `async with GoogleApis() as apis` then `apis.url` (REST), `apis.grpc_target`.

    `calls` lists the methods served; `token`, if set, is the only bearer REST accepts.
    """

    def __init__(self) -> None:
        self.kms = Kms()
        self.tasks = TaskQueues()
        self.secrets = Secrets()
        self.calls: list[str] = []
        self.token: str | None = None
        self._failures: list[str] = []
        self._methods = [*self.kms.methods(), *self.tasks.methods(), *self.secrets.methods()]

    async def __aenter__(self) -> GoogleApis:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_get("/oauth2/v3/certs", self._certs)
        app.router.add_route("*", "/{path:.*}", self._rest)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._grpc = grpc.aio.server()
        self._grpc.add_generic_rpc_handlers((_Generic(self),))
        self.grpc_target = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        await self._grpc.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._grpc.stop(None)

    def fail_next(self, times: int, code: str = "UNAVAILABLE") -> None:
        """Answer the next `times` calls, of any service, with `code`."""
        self._failures += [code] * times

    def serve(self, method: _Method, request: Any) -> Any:
        """Answer one parsed request, or raise Refused."""
        self.calls.append(method.name)
        if self._failures:
            raise Refused(self._failures.pop(0), "injected")
        return method.answer(request)

    def method(self, grpc_path: str) -> _Method | None:
        """Return the method a gRPC path names."""
        return next((m for m in self._methods if m.grpc_path == grpc_path), None)

    async def _certs(self, _: web.Request) -> web.Response:
        return web.json_response(self.tasks.certs())

    async def _rest(self, request: web.Request) -> web.Response:
        try:
            if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
                raise Refused("UNAUTHENTICATED", "invalid authentication credentials")
            method, message = await self._parse(request)
            answer = self.serve(method, message)
        except Refused as err:
            error = {"code": _HTTP[err.code], "status": err.code, "message": str(err)}
            return web.json_response({"error": error}, status=_HTTP[err.code])
        raw = getattr(type(answer), "pb", lambda plain: plain)(answer)
        return web.json_response(json_format.MessageToDict(raw))

    async def _parse(self, request: web.Request) -> tuple[_Method, Any]:
        for method in self._methods:
            for route in method.routes:
                found = _pattern(route["uri"]).fullmatch(request.path)
                if not found or route["method"] != request.method.lower():
                    continue
                fields: dict[str, Any] = {**request.query, **found.groupdict()}
                body = await request.json() if request.can_read_body else {}
                if route.get("body") == "*":
                    fields |= body
                elif "body" in route:
                    fields[route["body"]] = body
                return method, _message(method, fields)
        raise Refused("NOT_FOUND", f"no method at {request.method} {request.path}")


class _Generic(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, apis: GoogleApis) -> None:
        self._apis = apis

    def service(self, details: Any) -> Any:
        method = self._apis.method(details.method)
        if method is None:
            return None

        async def answer(request: Any, context: Any) -> Any:
            try:
                return self._apis.serve(method, request)
            except Refused as err:
                await context.abort(grpc.StatusCode[err.code], str(err))

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=method.request.deserialize,
            response_serializer=_serialize,
        )


@dataclass
class _Version:
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    state: Any = ENABLED


class Kms:
    """Symmetric encryption with versions; `corrupt_next` damages a field of coming answers."""

    def __init__(self) -> None:
        self.keys: dict[str, list[_Version]] = {}
        self._corrupt: list[str] = []

    def methods(self) -> list[_Method]:
        return _methods(
            "KeyManagementService",
            KmsRoutes,
            {
                "Encrypt": (kms_v1.EncryptRequest, self.encrypt),
                "Decrypt": (kms_v1.DecryptRequest, self.decrypt),
                "CreateCryptoKey": (kms_v1.CreateCryptoKeyRequest, self.create),
                "ListCryptoKeyVersions": (kms_v1.ListCryptoKeyVersionsRequest, self.versions),
                "DestroyCryptoKeyVersion": (kms_v1.DestroyCryptoKeyVersionRequest, self.destroy),
            },
        )

    def add_key(self, name: str) -> str:
        self.keys[name] = [_Version()]
        return name

    def rotate(self, name: str) -> None:
        self.keys[name].append(_Version())

    def corrupt_next(self, field_name: str, times: int = 1) -> None:
        self._corrupt += [field_name] * times

    def encrypt(self, request: Any) -> Any:
        versions = self._versions(request.name)
        _check(request, "plaintext")
        _check(request, "additional_authenticated_data")
        number = len(versions)
        self._usable(versions[-1])
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(versions[-1].key).encrypt(
            nonce, request.plaintext, request.additional_authenticated_data
        )
        ciphertext = number.to_bytes(4, "big") + nonce + sealed
        answer = kms_v1.EncryptResponse(
            name=f"{request.name}/cryptoKeyVersions/{number}",
            ciphertext=ciphertext,
            ciphertext_crc32c=crc32c(ciphertext),
            verified_plaintext_crc32c="plaintext_crc32c" in request,
            verified_additional_authenticated_data_crc32c=(
                "additional_authenticated_data_crc32c" in request
            ),
        )
        return self._damaged(answer)

    def decrypt(self, request: Any) -> Any:
        versions = self._versions(request.name)
        _check(request, "ciphertext")
        _check(request, "additional_authenticated_data")
        number = int.from_bytes(request.ciphertext[:4], "big")
        refusal = Refused("INVALID_ARGUMENT", "Decryption failed: verify that 'name' is right.")
        if not 1 <= number <= len(versions) or len(request.ciphertext) < 32:
            raise refusal
        self._usable(versions[number - 1])
        try:
            plaintext = AESGCM(versions[number - 1].key).decrypt(
                request.ciphertext[4:16],
                request.ciphertext[16:],
                request.additional_authenticated_data,
            )
        except InvalidTag as err:
            raise refusal from err
        answer = kms_v1.DecryptResponse(
            plaintext=plaintext,
            plaintext_crc32c=crc32c(plaintext),
            used_primary=number == len(versions),
        )
        return self._damaged(answer)

    def create(self, request: Any) -> Any:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", request.crypto_key_id):
            raise Refused("INVALID_ARGUMENT", "crypto_key_id")
        name = f"{request.parent}/cryptoKeys/{request.crypto_key_id}"
        if name in self.keys:
            raise Refused("ALREADY_EXISTS", "the key exists")
        return kms_v1.CryptoKey(name=self.add_key(name), purpose=request.crypto_key.purpose)

    def versions(self, request: Any) -> Any:
        """List one version to a page, so that paging is always exercised."""
        states = {"ENABLED": ENABLED, "DISABLED": DISABLED}
        wanted = {state for name, state in states.items() if f"state={name}" in request.filter}
        listed = [
            kms_v1.CryptoKeyVersion(
                name=f"{request.parent}/cryptoKeyVersions/{number}", state=version.state
            )
            for number, version in enumerate(self._versions(request.parent), 1)
            if not wanted or version.state in wanted
        ]
        after = int(request.page_token or 0)
        rest = [v for v in listed if int(v.name.rpartition("/")[2]) > after]
        token = rest[0].name.rpartition("/")[2] if len(rest) > 1 else ""
        return kms_v1.ListCryptoKeyVersionsResponse(
            crypto_key_versions=rest[:1], next_page_token=token
        )

    def destroy(self, request: Any) -> Any:
        name, _, number = request.name.rpartition("/cryptoKeyVersions/")
        version = self._versions(name)[int(number) - 1]
        if version.state not in (ENABLED, DISABLED):
            raise Refused("FAILED_PRECONDITION", "the version is destroyed")
        version.state = DESTROY_SCHEDULED
        return kms_v1.CryptoKeyVersion(name=request.name, state=version.state)

    def _versions(self, name: str) -> list[_Version]:
        if name not in self.keys:
            raise Refused("NOT_FOUND", f"CryptoKey {name} not found.")
        return self.keys[name]

    def _usable(self, version: _Version) -> None:
        if version.state is not ENABLED:
            state = kms_v1.CryptoKeyVersion.CryptoKeyVersionState(version.state).name
            raise Refused("FAILED_PRECONDITION", f"is not enabled, current state is: {state}.")

    def _damaged(self, answer: Any) -> Any:
        if self._corrupt and self._corrupt[0] in answer:
            name = self._corrupt.pop(0)
            setattr(answer, name, _broken(getattr(answer, name)))
        return answer


@dataclass
class _Queue:
    max_attempts: int = 8
    min_backoff_s: float = 0.5
    max_backoff_s: float = 60.0


@dataclass
class _Pending:
    task: Any
    due: float
    retries: int = 0
    executions: int = 0
    previous: int | None = None


class TaskQueues:
    """Queues that deliver when told (`deliver_due`), by a clock the test moves (`now`)."""

    NAME_KEPT_S = 24 * 3600.0

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.time
        self.queues: dict[str, _Queue] = {}
        self.pending: dict[str, _Pending] = {}
        self.used: dict[str, float] = {}
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def methods(self) -> list[_Method]:
        return _methods(
            "CloudTasks",
            TaskRoutes,
            {
                "CreateTask": (tasks_v2.CreateTaskRequest, self.create),
                "GetTask": (tasks_v2.GetTaskRequest, self.get),
                "DeleteTask": (tasks_v2.DeleteTaskRequest, self.delete),
            },
        )

    def add_queue(self, name: str, **settings: Any) -> None:
        self.queues[name] = _Queue(**settings)

    def certs(self) -> dict[str, Any]:
        """Return the JWKS of the key that signs deliveries."""
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": "test", "use": "sig", "alg": "RS256"}]}

    def create(self, request: Any) -> Any:
        task, now = request.task, self.now()
        if request.parent not in self.queues:
            raise Refused("NOT_FOUND", "Queue does not exist.")
        name = task.name or f"{request.parent}/tasks/{secrets.randbits(63)}"
        if not re.fullmatch(re.escape(request.parent) + "/tasks/[A-Za-z0-9_-]{1,500}", name):
            raise Refused("INVALID_ARGUMENT", "Task name")
        if name in self.pending or self.used.get(name, -1.0) > now:
            raise Refused("ALREADY_EXISTS", "Requested entity already exists")
        deadline = task.dispatch_deadline.total_seconds() if task.dispatch_deadline else 600
        due = task.schedule_time.timestamp() if task.schedule_time else now
        if not 15 <= deadline <= 1800 or due > now + 30 * 86400 + 60:
            raise Refused("INVALID_ARGUMENT", "deadline or schedule")
        if not task.http_request.url.startswith(("http://", "https://")):
            raise Refused("INVALID_ARGUMENT", "url")
        task.name = name
        task.schedule_time = dt.datetime.fromtimestamp(max(due, now), dt.UTC)
        self.pending[name] = _Pending(task, max(due, now))
        return task

    def get(self, request: Any) -> Any:
        if request.name not in self.pending:
            raise Refused("NOT_FOUND", "Requested entity was not found.")
        return self.pending[request.name].task

    def delete(self, request: Any) -> Any:
        if self.pending.pop(request.name, None) is None:
            raise Refused("NOT_FOUND", "Requested entity was not found.")
        self.used[request.name] = self.now() + self.NAME_KEPT_S
        return empty_pb2.Empty()

    async def deliver_due(self) -> int:
        """Deliver until nothing is due; return how many attempts that took."""
        made = 0
        async with ClientSession() as session:
            while due := [p for p in self.pending.values() if p.due <= self.now()]:
                await asyncio.gather(*(self._attempt(session, p) for p in due))
                made += len(due)
        return made

    async def _attempt(self, session: ClientSession, pending: _Pending) -> None:
        request = pending.task.http_request
        async with session.post(
            request.url,
            data=request.body,
            headers={**request.headers, **self._headers(pending)},
            allow_redirects=False,
        ) as response:
            status, retry_after = response.status, response.headers.get("Retry-After")
        parent = pending.task.name.rpartition("/tasks/")[0]
        queue, now = self.queues[parent], self.now()
        pending.retries += 1
        if 200 <= status < 300 or pending.retries >= queue.max_attempts:
            self.pending.pop(pending.task.name, None)
            self.used[pending.task.name] = now + self.NAME_KEPT_S
            return
        pending.executions += status < 500
        pending.previous = status
        pause = min(queue.max_backoff_s, queue.min_backoff_s * 2 ** (pending.retries - 1))
        pending.due = now + max(pause, float(retry_after or 0))

    def _headers(self, pending: _Pending) -> dict[str, str]:
        queue, _, task = pending.task.name.partition("/queues/")[2].partition("/tasks/")
        headers = {
            "User-Agent": "Google-Cloud-Tasks",
            "X-CloudTasks-QueueName": queue,
            "X-CloudTasks-TaskName": task,
            "X-CloudTasks-TaskRetryCount": str(pending.retries),
            "X-CloudTasks-TaskExecutionCount": str(pending.executions),
            "X-CloudTasks-TaskETA": f"{pending.task.schedule_time.timestamp():.6f}",
        }
        if pending.retries:
            headers["X-CloudTasks-TaskPreviousResponse"] = str(pending.previous)
            headers["X-CloudTasks-TaskRetryReason"] = ""
        oidc = pending.task.http_request.oidc_token
        if oidc.service_account_email:
            headers["Authorization"] = f"Bearer {self._bearer(oidc)}"
        return headers

    def _bearer(self, oidc: Any) -> str:
        claims = {
            "iss": "https://accounts.google.com",
            "aud": oidc.audience,
            "email": oidc.service_account_email,
            "email_verified": True,
            "iat": int(time.time()),
            "exp": int(time.time()) + 3600,
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "test"})


class Secrets:
    """Secret versions; the last added is `latest`, even when disabled, as at Google."""

    def __init__(self) -> None:
        self.latest: dict[str, tuple[bytes, bool]] = {}
        self.corrupt = False

    def methods(self) -> list[_Method]:
        return _methods(
            "SecretManagerService",
            SecretRoutes,
            {
                "AccessSecretVersion": (
                    secretmanager_v1.AccessSecretVersionRequest,
                    self.access,
                )
            },
        )

    def add(self, project: str, name: str, value: bytes, *, enabled: bool = True) -> None:
        self.latest[f"projects/{project}/secrets/{name}/versions/latest"] = (value, enabled)

    def access(self, request: Any) -> Any:
        if request.name not in self.latest:
            raise Refused("NOT_FOUND", "Secret not found or has no versions.")
        value, enabled = self.latest[request.name]
        if not enabled:
            raise Refused("FAILED_PRECONDITION", "is in DISABLED state.")
        return secretmanager_v1.AccessSecretVersionResponse(
            name=request.name.replace("latest", "1"),
            payload=secretmanager_v1.SecretPayload(
                data=value, data_crc32c=crc32c(value) ^ self.corrupt
            ),
        )


def _methods(service: str, routes: Any, table: dict[str, tuple[Any, Any]]) -> list[_Method]:
    return [
        _Method(service, name, request, answer, getattr(routes, f"_Base{name}")._get_http_options())
        for name, (request, answer) in table.items()
    ]


def _pattern(uri: str) -> re.Pattern[str]:
    """Turn a route of the library (`/v1/{name=projects/*/secrets/*}:access`) into a pattern."""
    parts = re.split(r"\{(\w+)=([^}]*)\}", uri)
    pattern = re.escape(parts[0])
    for name, glob, literal in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        value = re.escape(glob).replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
        pattern += f"(?P<{name}>{value}){re.escape(literal)}"
    return re.compile(pattern)


def _message(method: _Method, fields: dict[str, Any]) -> Any:
    try:
        raw = json_format.ParseDict(fields, method.request.pb(method.request()))
    except json_format.ParseError as err:
        raise Refused("INVALID_ARGUMENT", f"Invalid JSON payload received: {err}") from err
    return method.request.wrap(raw)


def _broken(value: Any) -> Any:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return value ^ 1
    return value[::-1]


def _serialize(answer: Any) -> bytes:
    raw = getattr(type(answer), "pb", lambda plain: plain)(answer)
    return bytes(raw.SerializeToString())


def _check(request: Any, name: str) -> None:
    data = getattr(request, name)
    if len(data) > _LIMIT + (1024 if name == "ciphertext" else 0):
        raise Refused("INVALID_ARGUMENT", f"{name} is too long")
    if f"{name}_crc32c" in request and getattr(request, f"{name}_crc32c") != crc32c(data):
        raise Refused("INVALID_ARGUMENT", f"The {name} does not match its CRC32C.")
