"""Twilio's signature on what it sends us: webhooks, JSON callbacks, WebSocket handshakes.

https://www.twilio.com/docs/usage/webhooks/webhooks-security (2026-11). Plain functions over values.
The signed text is the address that Twilio was given, followed by the form's fields: so the caller
must say which public addresses it answers at, and never build one from the `Host` header, which is
the sender's to choose.

Quirks, dated 2026-11:
- Twilio signs with or without the port, whatever the address says: both are accepted.
- A repeated field counts once for each distinct value, blank values count, names sort by bytes.
- A JSON body is not in the signed text: the query's `bodySHA256` vouches for it, and a body that
  nothing vouches for is refused.
- Media Streams' handshakes are signed over `wss://` or `https://`, with or without a last slash.
- Since 2026 a webhook shared key may sign with SHA-256; `X-Twilio-Webhooks-Signature-Settings`
  names the key and the algorithm. Anything but HMAC_SHA256 is refused there, so that nobody can
  talk us down to a weaker hash of a shared key.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypeAlias
from urllib.parse import parse_qs, parse_qsl, quote, urlencode

from common.errors import Misconfigured

Params: TypeAlias = Mapping[str, "str | Sequence[str]"]

HEADER: Final = "X-Twilio-Signature"
SETTINGS_HEADER: Final = "X-Twilio-Webhooks-Signature-Settings"
TOKEN: Final = "TWILIO_AUTH_TOKEN"  # noqa: S105 - the name of a setting
SHARED: Final = "TWILIO_SHARED_KEYS"
_SHA1, _SHA256 = "HMAC_SHA1", "HMAC_SHA256"
_HASHES: Final = {_SHA1: "sha1", _SHA256: "sha256"}
_PORTS: Final = {"https": "443", "wss": "443", "http": "80", "ws": "80"}
_TWINS: Final = {"wss": "https", "ws": "http"}  # a handshake begins as an HTTP request
_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?P<host>[^/?]*?)(?P<port>:[0-9]*)?(?P<rest>[/?].*)?\Z"
)
_JS_SAFE: Final = "-_.!~*'()"  # what JavaScript leaves as it is in a query


@dataclass(frozen=True, slots=True)
class Keys:
    """What may have signed: the account's auth token, and shared keys by their ids."""

    token: str = field(repr=False)
    shared: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, secret: Callable[[str], str | None]) -> Keys:
        """Read them from the vendor keys; Misconfigured where none is set or one is malformed.

        TWILIO_SHARED_KEYS is `<key id>=<secret>`, several with commas between.
        """
        shared = {}
        for pair in filter(None, (part.strip() for part in (secret(SHARED) or "").split(","))):
            key_id, _, value = pair.partition("=")
            if not key_id or not value:
                raise Misconfigured(f"{SHARED} must look like keyId=secret,….")
            shared[key_id.strip()] = value.strip()
        token = secret(TOKEN) or ""
        if not token and not shared:
            raise Misconfigured(f"Calls and texts need {TOKEN}: without it nobody can be trusted.")
        return cls(token, shared)


def signed(
    urls: Iterable[str],
    params: Params | None,
    header: Callable[[str], str | None],
    keys: Keys,
    *,
    body: bytes = b"",
) -> bool:
    """Tell whether Twilio signed this request, made to any of `urls`.

    `header` returns a header's value by its name, in any case. `params` is the decoded form, None
    for anything else; `body` the raw bytes of a body that is no form.
    """
    chosen = _key(header(SETTINGS_HEADER), keys)
    signature = header(HEADER) or ""
    if chosen is None or not signature:
        return False
    secret, algorithm = chosen
    # Every address is tried, so that the time taken does not tell which of them fits.
    found = [valid(url, params, signature, secret, body=body, algorithm=algorithm) for url in urls]
    return any(found)


def valid(
    url: str,
    params: Params | None,
    signature: str,
    token: str,
    *,
    body: bytes = b"",
    algorithm: str = _SHA1,
) -> bool:
    """Tell whether `signature` is that of a request to `url`, in any spelling Twilio may sign.

    `params` is the decoded form (None: no form), `body` a body of another kind. A `ws` or `wss`
    address means a handshake. Compared in constant time.
    """
    hash_name = _HASHES.get(algorithm)
    if hash_name is None or not token or (params is None and not _vouched(url, body)):
        return False
    given = signature.strip().encode()
    tail = _fields(params or {})
    matches = [
        hmac.compare_digest(compute(spelling, tail, token, hash_name), given)
        for spelling in _spellings(url)
    ]
    return any(matches)


def sign(url: str, params: Params | None, token: str, *, algorithm: str = _SHA1) -> str:
    """Return the signature that Twilio would send with a request to `url`, spelt as it is."""
    return compute(url, _fields(params or {}), token, _HASHES[algorithm]).decode()


def compute(url: str, tail: str, token: str, hash_name: str) -> bytes:
    """Return the base64 of the keyed hash of `url` and the form's fields `tail`."""
    text = (url + tail).encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(token.encode(), text, hash_name))


def _key(settings: str | None, keys: Keys) -> tuple[str, str] | None:
    """Return the secret and the algorithm that the settings header asks for; None: refuse."""
    named = {}
    for part in (settings or "").split(","):
        name, found, value = part.partition("=")
        if found:
            named[name.strip().lower()] = value.strip()
    algorithm = named.get("algorithm", "")
    if not algorithm:
        return (keys.token, _SHA1) if keys.token else None
    secret = keys.shared.get(named.get("key", ""))
    if algorithm.upper() != _SHA256 or not secret:
        return None
    return secret, _SHA256


def _fields(params: Params) -> str:
    """Return names and values as they follow the address; no separators."""
    text = []
    for name in sorted(params, key=_bytes):
        values = params[name]
        distinct = {values} if isinstance(values, str) else set(values)
        text += [name + value for value in sorted(distinct, key=_bytes)]
    return "".join(text)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _vouched(url: str, body: bytes) -> bool:
    """Tell whether the address names the hash of `body`; an empty body needs none."""
    named = parse_qs(url.partition("#")[0].partition("?")[2], keep_blank_values=True)
    hashes = named.get("bodySHA256", [])
    if not hashes:
        return not body
    told = hashes[0].lower().encode("utf-8", "replace")
    return len(hashes) == 1 and hmac.compare_digest(sha256(body).hexdigest().encode(), told)


def _spellings(url: str) -> Iterator[str]:
    """Yield the address in every form that Twilio is known to sign."""
    match = _PARTS.match(url.partition("#")[0])
    if match is None:
        return
    scheme, host, port, rest = match["scheme"], match["host"], match["port"], match["rest"] or ""
    kind, rests = scheme.lower(), [rest]
    if kind in _TWINS:
        path, mark, query = rest.partition("?")
        rests += [f"{path}/{mark}{query}"] if not path.endswith("/") else []
    elif (encoded := _encoded_again(rest)) != rest:
        rests.append(encoded)
    ports = {port or "", "", port or f":{_PORTS.get(kind, '')}"}
    for spelt in dict.fromkeys([scheme, _TWINS.get(kind, scheme)]):
        for each in rests:
            yield from (f"{spelt}://{host}{where}{each}" for where in sorted(ports))


def _encoded_again(rest: str) -> str:
    """Return the address's tail with its query as JavaScript would write it: some hops do so."""
    path, mark, query = rest.partition("?")
    if not query:
        return rest
    pairs = parse_qsl(query, keep_blank_values=True)
    return path + mark + urlencode(pairs, quote_via=quote, safe=_JS_SAFE)
