"""Settings: read once from the environment, checked, frozen.

`Settings.from_env` runs in the composition root (`common.bootstrap`) and nowhere else. Each field's
metadata is its row in the README's table (`python -m run.local settings` prints it), so that the
table cannot drift. Vendors' keys are not fields: connectors name them in their manifests and read
them with `secret`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from common.errors import Misconfigured

Backend: TypeAlias = Literal["embedded", "emulators", "google"]
Environment: TypeAlias = Literal["development", "staging", "production"]
ModelApi: TypeAlias = Literal["auto", "responses", "chat"]


def _setting(env: str, default: Any, help: str) -> Any:
    return field(default=default, metadata={"env": env, "help": help})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can decide. Times are seconds unless a name says otherwise."""

    environment: Environment = _setting(
        "ODAI_ENV", "development", "`development`, `staging` or `production`"
    )
    backend: Backend = _setting(
        "ODAI_BACKEND",
        "embedded",
        "`embedded` (this machine alone), `emulators` (Google's, on this machine) or `google`",
    )
    data_dir: Path = _setting("ODAI_DATA", Path(".odai"), "folder of the embedded backend's files")
    port: int = _setting("PORT", 8080, "port to listen on")
    sandbox: bool = _setting(
        "ODAI_SANDBOX",
        False,
        "`true`: Google, Plaid and a few other services are simulated on this machine, and what "
        "is said and linked is forgotten at the end (`python -m run.local serve`)",
    )
    public_url: str = _setting(
        "ODAI_PUBLIC_URL", "", "address clients reach us at; empty: this machine and the port"
    )
    allowed_origins: tuple[str, ...] = _setting(
        "ODAI_ALLOWED_ORIGINS", (), "web origins that may open a socket, besides our own; commas"
    )
    log_level: str = _setting("ODAI_LOG_LEVEL", "INFO", "`DEBUG`, `INFO`, `WARNING` or `ERROR`")
    google_project: str = _setting("GOOGLE_CLOUD_PROJECT", "", "Google Cloud project id")
    google_location: str = _setting(
        "ODAI_GOOGLE_LOCATION", "us-central1", "region of queues and functions"
    )
    firebase_project: str = _setting(
        "ODAI_FIREBASE_PROJECT", "", "project whose ID tokens are accepted; empty: the one above"
    )
    firebase_api_key: str = _setting(
        "ODAI_FIREBASE_API_KEY",
        "",
        "web API key of that project, no secret: the web client signs users in with it",
    )
    kms_key: str = _setting(
        "ODAI_KMS_KEY", "", "Cloud KMS key that wraps users' data keys (full resource name)"
    )
    key_per_user: bool = _setting(
        "ODAI_KEY_PER_USER", False, "`true`: one KMS key for each user (strict isolation, dearer)"
    )
    functions_url: str = _setting(
        "ODAI_FUNCTIONS_URL", "", "address of the functions, for tasks; empty: the public address"
    )
    invoker: str = _setting(
        "ODAI_INVOKER", "", "service account whose calls tasks and events make to the functions"
    )
    owner: str = _setting(
        "ODAI_OWNER",
        "",
        "user id that may use services whose key is one person's account (broker, parcels)",
    )
    model: str = _setting("ODAI_MODEL", "gpt-6-luna", "name of the language model")
    openai_api_key: str = _setting(
        "OPENAI_API_KEY", "", "key of the model endpoint; neither key nor URL: the offline planner"
    )
    openai_base_url: str = _setting(
        "OPENAI_BASE_URL", "", "any OpenAI-compatible endpoint, such as `http://localhost:11434/v1`"
    )
    model_api: ModelApi = _setting(
        "ODAI_MODEL_API", "auto", "`responses`, `chat`, or `auto`: the first that the endpoint has"
    )
    model_timeout: float = _setting(
        "ODAI_MODEL_TIMEOUT", 120.0, "longest silence of the model before a turn fails"
    )
    voice_model: str = _setting("ODAI_VOICE_MODEL", "gpt-realtime-2.1", "name of the voice model")
    voice: str = _setting("ODAI_VOICE", "marin", "the voice that speaks on calls")
    realtime_url: str = _setting(
        "ODAI_REALTIME_URL",
        "",
        "`ws` or `wss` address of the Realtime endpoint; empty: that of the model endpoint",
    )
    small_model: str = _setting(
        "ODAI_SMALL_MODEL",
        "same",
        "model that titles chats and suggests prompts: a name, `same` (as ODAI_MODEL) or `off` "
        "(rules do it)",
    )
    prices: str = _setting(
        "ODAI_PRICES",
        "",
        "`model=input/cached/output[/audio in/audio out],…` in dollars a million tokens; `*` for "
        "any other model; empty: OpenAI's list prices, none for another endpoint",
    )
    daily_soft: str = _setting(
        "ODAI_DAILY_SOFT", "5", "dollars a user's day may cost before what runs by itself waits"
    )
    daily_hard: str = _setting(
        "ODAI_DAILY_HARD", "10", "dollars a user's day may cost at all; `0`: no limit"
    )
    daily_task: str = _setting(
        "ODAI_DAILY_TASK", "1", "dollars that one scheduled task of a user may cost in a day"
    )
    sockets_per_user: int = _setting(
        "ODAI_SOCKETS_PER_USER", 20, "open chat sockets a user may have on one instance"
    )
    prompts_per_minute: int = _setting(
        "ODAI_PROMPTS_PER_MINUTE", 60, "prompts a user may send on one instance"
    )
    idle_seconds: float = _setting(
        "ODAI_IDLE_SECONDS", 900.0, "a socket on which nothing happens for so long is closed"
    )
    traces: str = _setting(
        "ODAI_TRACES", "", "`google` (Cloud Trace) or an OTLP collector's address; empty: no traces"
    )
    trace_share: float = _setting(
        "ODAI_TRACE_SHARE", 0.1, "share of turns and requests that are traced, up to 1"
    )
    sentry_dsn: str = _setting(
        "SENTRY_DSN", "", "where errors are reported, without anybody's words; empty: nowhere"
    )
    platform_checks: bool = _setting(
        "ODAI_PLATFORM_CHECKS",
        False,
        "`true`: Cloud Run itself checks who calls this function (IAM), and may drop signatures",
    )
    mount_functions: bool = _setting(
        "ODAI_MOUNT_FUNCTIONS",
        False,
        "`true`: the container answers for the public functions too (no load balancer)",
    )
    phone_guests: bool = _setting(
        "ODAI_PHONE_GUESTS",
        False,
        "`true`: strangers who call or text are answered, from public sources only",
    )
    trust_proxy: bool = _setting(
        "ODAI_TRUST_PROXY",
        False,
        "`true`: a proxy in front sets `X-Forwarded-Proto` and `-Host`, and nobody else can",
    )
    proxies: int = _setting(
        "ODAI_PROXIES",
        1,
        "proxies of Google's that append to `X-Forwarded-For`: 2 behind the load balancer",
    )
    egress_map: Mapping[str, str] = field(
        default_factory=dict,
        metadata={
            "env": "ODAI_EGRESS_MAP",
            "help": "`host=http://127.0.0.1:9000,…`: send a vendor's host elsewhere "
            "(not with `google`)",
        },
    )
    _environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check the settings; Misconfigured names the variable that is wrong."""
        values: dict[str, Any] = {}
        for item in dataclasses.fields(cls):
            name = item.metadata.get("env")
            raw = environ.get(name, "").strip() if name else ""
            if name and raw:
                values[item.name] = _parse(name, raw, item)
        settings = cls(**values, _environ=dict(environ))
        settings._check()
        return settings

    def changed(self, **environ: str) -> Settings:
        """Return the settings of the same environment with some variables changed."""
        return Settings.from_env({**self._environ, **environ})

    def secret(self, name: str) -> str | None:
        """Return the vendor key `name` (an environment variable), or None where it is not set."""
        return self._environ.get(name, "").strip() or None

    @property
    def production(self) -> bool:
        """True where development conveniences are refused."""
        return self.environment == "production"

    def is_owner(self, uid: str) -> bool:
        """Whether `uid` may use the operator's own accounts: anybody, outside production."""
        return uid == self.owner if self.production else True

    @property
    def local(self) -> bool:
        """True where everything runs on this machine."""
        return self.backend != "google"

    @property
    def offline(self) -> bool:
        """True where no model endpoint is configured and the offline planner answers."""
        return not (self.openai_api_key or self.openai_base_url)

    @property
    def base_url(self) -> str:
        """The address clients reach us at, without a trailing slash."""
        return (self.public_url or f"http://127.0.0.1:{self.port}").rstrip("/")

    def _check(self) -> None:
        if self.production and self.local:
            raise Misconfigured(
                f"ODAI_ENV=production refuses ODAI_BACKEND={self.backend}: set it to google."
            )
        if self.sandbox and (self.production or not self.local):
            raise Misconfigured(
                f"ODAI_SANDBOX simulates services and is refused with ODAI_ENV={self.environment} "
                f"and ODAI_BACKEND={self.backend}: unset it."
            )
        if self.egress_map and not self.local:
            raise Misconfigured("ODAI_EGRESS_MAP does not work with ODAI_BACKEND=google: unset it.")
        if self.backend == "google" and not self.google_project:
            raise Misconfigured("ODAI_BACKEND=google needs GOOGLE_CLOUD_PROJECT.")
        if self.backend == "google" and not self.invoker:
            raise Misconfigured("ODAI_BACKEND=google needs ODAI_INVOKER, a service account.")
        if self.backend == "google" and not self.public_url:
            raise Misconfigured("ODAI_BACKEND=google needs ODAI_PUBLIC_URL.")
        if self.backend == "google" and not self.kms_key:
            raise Misconfigured("ODAI_BACKEND=google needs ODAI_KMS_KEY.")
        if self.production and self._environ.get("FIREBASE_AUTH_EMULATOR_HOST"):
            raise Misconfigured("ODAI_ENV=production refuses FIREBASE_AUTH_EMULATOR_HOST.")


def settings_table() -> list[tuple[str, str, str]]:
    """Return (variable, default, meaning) of every setting, in order: the README's table."""
    rows = []
    for item in dataclasses.fields(Settings):
        if name := item.metadata.get("env"):
            default = "" if item.default is dataclasses.MISSING else item.default
            shown = str(default).lower() if isinstance(default, bool) else str(default or "")
            rows.append((name, shown, item.metadata["help"]))
    return rows


_CHOICES: dict[str, tuple[str, ...]] = {
    "ODAI_ENV": ("development", "staging", "production"),
    "ODAI_BACKEND": ("embedded", "emulators", "google"),
    "ODAI_MODEL_API": ("auto", "responses", "chat"),
    "ODAI_LOG_LEVEL": ("DEBUG", "INFO", "WARNING", "ERROR"),
}


def _parse(name: str, raw: str, item: dataclasses.Field[Any]) -> Any:
    if choices := _CHOICES.get(name):
        if raw not in choices:
            raise Misconfigured(f"{name} must be one of {', '.join(choices)}.")
        return raw
    default = item.default
    if name == "ODAI_EGRESS_MAP":
        return _egress_map(raw)
    if isinstance(default, bool):
        if raw.lower() not in ("true", "false", "1", "0"):
            raise Misconfigured(f"{name} must be true or false.")
        return raw.lower() in ("true", "1")
    if isinstance(default, Path):
        return Path(raw).expanduser()
    if isinstance(default, tuple):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if isinstance(default, (int, float)):
        return _number(name, raw, type(default))
    return raw


def _number(name: str, raw: str, kind: type[int] | type[float]) -> float:
    try:
        value = kind(raw)
    except ValueError as err:
        raise Misconfigured(f"{name} must be a number.") from err
    if not 0 < value < 65536:
        raise Misconfigured(f"{name} must be above 0 and below 65536.")
    return value


def _egress_map(raw: str) -> dict[str, str]:
    hosts = {}
    for pair in filter(None, (part.strip() for part in raw.split(","))):
        host, _, target = pair.partition("=")
        url = urlsplit(target)
        if not host or url.scheme not in ("http", "https") or not url.hostname:
            raise Misconfigured("ODAI_EGRESS_MAP must look like host=http://127.0.0.1:9000,….")
        hosts[host.strip().lower()] = target.rstrip("/")
    return hosts
