"""Twilio's signature: its published vectors, variants of every rule, and forgeries of them all.

The vectors are those of Twilio's own libraries. Where the `twilio` package implements a rule, it
is the oracle: it signs, and must agree that what we accept is good.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from twilio.request_validator import RequestValidator

from common.errors import Misconfigured
from common.telephony.signature import HEADER, SETTINGS_HEADER, Keys, sign, signed, valid

TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
CALL = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}
BODY = b'{"property": "value", "boolean": true}'
HASH = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
OLD_URL, OLD_TOKEN = "http://www.postbin.org/1ed898x", "1c892n40nd03kdnc0112slzkl3091j20"
OLD_CALL = {
    "AccountSid": "AC9a9f9392lad99kla0sklakjs90j092j3", "ApiVersion": "2010-04-01",
    "CallSid": "CAd800bb12c0426a7ea4230e492fef2a4f", "CallStatus": "ringing",
    "Called": "+15306384866", "CalledCity": "OAKLAND", "CalledCountry": "US", "CalledState": "CA",
    "CalledZip": "94612", "Caller": "+15306666666", "CallerCity": "SOUTH LAKE TAHOE",
    "CallerCountry": "US", "CallerName": "CA Wireless Call", "CallerState": "CA",
    "CallerZip": "89449", "Direction": "inbound", "From": "+15306666666",
    "FromCity": "SOUTH LAKE TAHOE", "FromCountry": "US", "FromState": "CA", "FromZip": "89449",
    "To": "+15306384866", "ToCity": "OAKLAND", "ToCountry": "US", "ToState": "CA",
    "ToZip": "94612",
}  # fmt: skip


def on(host: str, scheme: str = "https") -> str:
    """Return the vectors' address at another host."""
    return f"{scheme}://{host}/myapp.php?foo=1&bar=2"


@pytest.mark.parametrize(
    ("url", "params", "signature", "token"),
    [
        (URL, CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", TOKEN),
        (OLD_URL, OLD_CALL, "fF+xx6dTinOaCdZ0aIeNkHr/ZAA=", OLD_TOKEN),
        (URL, {"Sid": "CA123", "SidAccount": "AC123", "Digits": ["5678", "1234", "1234"]},
         "IK+Dwps556ElfBT0I3Rgjkr1wJU=", TOKEN),
        (on("mycompany.com:1234"), CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", TOKEN),
        (on("mycompany.com:1234"), CALL, "CYn1h0gLBdNxDGkKJg6hYohgeD8=", TOKEN),
        (on("mycompany.com:1234", "http"), CALL, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=", TOKEN),
        (URL, CALL, "kvajT1Ptam85bY51eRf/AJRuM3w=", TOKEN),
        (on("mycompany.com", "http"), CALL, "0ZXoZLH/DfblKGATFgpif+LLRf4=", TOKEN),
        (on("MyCompany.com"), CALL, "g9IN/x4Cft2g517EjYvEvM/W7LU=", TOKEN),
        (on("MyCompany.com:1234"), CALL, "PCqOZm8cnu/L6+u5i5fuEd+Iac4=", TOKEN),
        (on("MyCompany.com", "http"), CALL, "XY7AlKOKL6im4yWyX84gldUrtis=", TOKEN),
        (on("username:password@MyCompany.com", "http"), CALL, "PJ08CxXr7KLPjEQCTc8LkUSMwSM=",
         TOKEN),
        (on("username:password@MyCompany.com", "HTTP"), CALL, "hy/l8pca+LFms4cvRdv8uiP6NGc=",
         TOKEN),
        (on("Username:Password@MyCompany.com", "http"), CALL, "SkTSKyDJH9kUlhItI0slbgZ1UsI=",
         TOKEN),
        (on("user:pass@mycompany.com"), CALL, "CukzLTc1tT5dXEDIHm/tKBanW10=", TOKEN),
        (on("user@mycompany.com"), CALL, "2YRLlVAflCqxaNicjMpJcSTgzSs=", TOKEN),
        (on("user:pass@mycompany.com"), CALL, "ZQFR1PTIZXF2MXB8ZnKCvnnA+rI=", TOKEN),
    ],
)  # fmt: skip
def test_published_vectors_of_forms(
    url: str, params: dict[str, Any], signature: str, token: str
) -> None:
    """What Twilio itself publishes as signed is accepted; the same with another token is not."""
    assert valid(url, params, signature, token)
    assert not valid(url, params, signature, token + "x")
    assert not valid(url, {**params, "Extra": "1"}, signature, token)


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        (f"{URL}&bodySHA256={HASH}", "a9nBmqA0ju/hNViExpshrM61xv4="),
        (f"https://mycompany.com/myapp.php?bodySHA256={HASH}", "y77kIzt2vzLz71DgmJGsen2scGs="),
    ],
)
def test_published_vectors_of_json(url: str, signature: str) -> None:
    """A JSON body counts by the hash in the address; another body, or no hash, does not."""
    assert valid(url, None, signature, TOKEN, body=BODY)
    assert not valid(url, None, signature, TOKEN, body=BODY + b" ")
    assert not valid(url, None, signature, TOKEN)
    assert not valid(URL, None, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", TOKEN, body=BODY)


@dataclass(frozen=True)
class Variant:
    """A request in one spelling (`url`) that Twilio signed in another (`signed_as`)."""

    name: str
    url: str
    signed_as: str
    params: dict[str, str | list[str]] | None = field(default_factory=lambda: dict(CALL))
    body: bytes = b""
    shared: bool = False
    oracle: bool = True  # the `twilio` package implements this rule


class _Form(dict[str, Any]):
    """A form as the `twilio` package reads it: `getall` for repeated fields."""

    def getall(self, name: str) -> Sequence[str]:
        value = self[name]
        return [value] if isinstance(value, str) else value


def _variants() -> list[Variant]:
    forms: dict[str, dict[str, str | list[str]]] = {
        "no fields": {},
        "one field": {"A": "1"},
        "blank value": {"FromCity": "", "FromZip": "", "Body": "x"},
        "blank name": {"": "x"},
        "only blanks": {"A": "", "B": ""},
        "repeated alike": {"A": ["1", "1", "1"]},
        "repeated, unsorted": {"A": ["z", "a", "m"]},
        "repeated with a blank": {"A": ["", "1"]},
        "case of names": {"a": "1", "B": "2", "A": "3", "b": "4"},
        "one name begins another": {"Sid": "CA1", "SidAccount": "AC1", "S": "x"},
        "accents": {"Body": "Chloéñ à bientôt"},
        "emoji": {"Body": "👍🏽 done 🎉"},
        "right to left": {"Body": "שלום عالم"},
        "line breaks": {"Body": "one\ntwo\r\nthree\ttab"},
        "form letters": {"Body": "a=b&c=d;e+f%20g"},
        "plus and space": {"To": "+1 415 867 5309"},
        "quotes and markup": {"Body": '<b>"it\'s"</b> & more'},
        "names with marks": {"MediaUrl0": "u", "Media.Type": "t", "X[0]": "y", "a-b": "z"},
        "long body": {"Body": "x" * 1600},
        "nothing but digits": {"1": "2", "10": "3", "9": "4"},
    }
    found = [Variant(name, URL, URL, dict(form)) for name, form in forms.items()]
    addresses = {
        "no port, signed with it": (on("a.example"), on("a.example:443")),
        "port, signed without it": (on("a.example:443"), on("a.example")),
        "plain, signed with its port": (on("a.example", "http"), on("a.example:80", "http")),
        "plain, port, signed without": (on("a.example:80", "http"), on("a.example", "http")),
        "own port, signed with it": (on("a.example:8443"), on("a.example:8443")),
        "own port, signed without it": (on("a.example:8443"), on("a.example")),
        "plain, own port": (on("a.example:8080", "http"), on("a.example:8080", "http")),
        "plain, own port, signed without": (on("a.example:8080", "http"), on("a.example", "http")),
        "no path": ("https://a.example", "https://a.example"),
        "root": ("https://a.example/", "https://a.example/"),
        "query without path": ("https://a.example?x=1", "https://a.example?x=1"),
        "blank query value": (f"{URL}&empty=&bare", f"{URL}&empty=&bare"),
        "escapes in path": ("https://a.example/a%20b/%C3%A9", "https://a.example/a%20b/%C3%A9"),
        "repeated query": ("https://a.example/x?a=1&a=1&a=2", "https://a.example/x?a=1&a=1&a=2"),
    }
    found += [Variant(name, *pair) for name, pair in addresses.items()]
    found += [
        Variant("fragment", f"{URL}#top", URL, oracle=False),
        Variant("numbers for a host", on("[2001:db8::1]"), on("[2001:db8::1]:443"), oracle=False),
        Variant("number, own port", on("[2001:db8::1]:8443"), on("[2001:db8::1]"), oracle=False),
        Variant("query written by a proxy", "https://a.example/x?q=a+b&r=%C3%A9%27",
                "https://a.example/x?q=a%20b&r=%C3%A9'", oracle=False),
        Variant("GET", URL, URL, None),
        Variant("GET with a port", on("a.example:443"), on("a.example"), None),
    ]  # fmt: skip
    for body in (b'{"a": 1}', b"[]", json.dumps({"t": "é" * 300}).encode(), b"\x00\xff binary"):
        hashed = f"https://a.example/x?y=1&bodySHA256={hashlib.sha256(body).hexdigest()}"
        is_text = body.isascii()
        found.append(Variant(f"body {body[:4]!r}", hashed, hashed, None, body, oracle=is_text))
    upper = f"https://a.example/x?bodySHA256={hashlib.sha256(BODY).hexdigest().upper()}"
    found.append(Variant("hash in capitals", upper, upper, None, BODY, oracle=False))
    shakes = {
        "as is": "wss://a.example/twilio/connect",
        "as https": "https://a.example/twilio/connect",
        "with a slash": "wss://a.example/twilio/connect/",
        "as https with a slash": "https://a.example/twilio/connect/",
        "with its port": "wss://a.example:443/twilio/connect",
        "as https with its port": "https://a.example:443/twilio/connect/",
    }
    found += [
        Variant(f"handshake {name}", shakes["as is"], signed_as, None, oracle=False)
        for name, signed_as in shakes.items()
    ]
    found.append(Variant("handshake on loopback", "ws://127.0.0.1:8080/twilio/connect",
                         "http://127.0.0.1:8080/twilio/connect", None, oracle=False))  # fmt: skip
    shared = [
        Variant(f"{v.name}, shared key", v.url, v.signed_as, v.params, v.body, True, v.oracle)
        for v in found
    ]
    return found + shared


VARIANTS = _variants()
KEYS = Keys(TOKEN, {"key_1": "shared secret one", "key_2": "shared secret two"})
each_variant = pytest.mark.parametrize("v", VARIANTS, ids=[v.name for v in VARIANTS])


def headers(v: Variant, *, secret: str = "", signed_as: str = "", **changed: str) -> dict[str, str]:
    """Return Twilio's headers for a variant, made without our code."""
    text = signed_as or v.signed_as
    for name in sorted(v.params or {}):
        value = (v.params or {})[name]
        values = {value} if isinstance(value, str) else set(value)
        text += "".join(name + one for one in sorted(values))
    algorithm = hashlib.sha256 if v.shared else hashlib.sha1
    key = secret or (KEYS.shared["key_2"] if v.shared else KEYS.token)
    mac = base64.b64encode(hmac.new(key.encode(), text.encode(), algorithm).digest()).decode()
    made = {HEADER: mac}
    if v.shared:
        made[SETTINGS_HEADER] = "key=key_2,algorithm=HMAC_SHA256"
    return made | changed


def check(v: Variant, given: dict[str, str], **changed: Any) -> bool:
    """Return what we say of a variant with these headers."""
    request = {"params": v.params, "body": v.body, "url": v.url} | changed
    return signed([request["url"]], request["params"], given.get, KEYS, body=request["body"])


def test_there_are_enough_variants() -> None:
    """The suite stays as wide as it was meant to be."""
    assert len(VARIANTS) >= 100 and len({v.name for v in VARIANTS}) == len(VARIANTS)


@each_variant
def test_what_twilio_signs_is_accepted(v: Variant) -> None:
    """Every field, address, body and handshake that Twilio may sign is let in."""
    assert check(v, headers(v))


@each_variant
def test_the_oracle_agrees(v: Variant) -> None:
    """Twilio's own package makes and accepts the same signature, where it knows the rule."""
    if not v.oracle:
        return
    secret = KEYS.shared["key_2"] if v.shared else KEYS.token
    theirs = RequestValidator(secret)
    params: Any = _Form(v.params or {}) if not v.body else v.body.decode()
    algorithm = "HMAC_SHA256" if v.shared else "HMAC_SHA1"
    mac = headers(v)[HEADER]
    assert theirs.validate(v.url, params, mac, algorithm)
    made = theirs.compute_signature(v.signed_as, {} if v.body else params, algorithm)
    assert made == mac == sign(v.signed_as, v.params, secret, algorithm=algorithm)


@each_variant
def test_every_forgery_is_refused(v: Variant) -> None:
    """Another key, field, address, body, hash or no signature at all: nothing of it comes in."""
    good = headers(v)
    mac = good[HEADER]
    assert not check(v, {})
    assert not check(v, good | {HEADER: ""})
    assert not check(v, good | {HEADER: mac[:-1]})
    assert not check(v, good | {HEADER: mac.swapcase()})
    assert not check(v, good | {HEADER: mac + "é"})
    assert not check(v, headers(v, secret="somebody else's"))
    assert not check(v, headers(v, signed_as="https://evil.example/twilio/incoming"))
    assert not check(v, good, url=v.url.replace("://", "://evil."))
    assert not check(v, good, params={**(v.params or {}), "Injected": "x"})
    if v.body:
        assert not check(v, good, body=v.body + b"\n")
        assert not check(v, good, body=b"")
    elif v.params is None:
        assert not check(v, good, body=b"anything")
    for name in v.params or {}:
        assert not check(v, good, params={**(v.params or {}), name: "changed!"})
        left = {k: value for k, value in (v.params or {}).items() if k != name}
        if left or (v.params or {})[name] or name:
            assert not check(v, good, params=left)


@each_variant
def test_the_settings_header_cannot_be_bent(v: Variant) -> None:
    """The header chooses among keys we know, and never a weaker hash for a shared key."""
    good = headers(v)
    bent = [
        "key=key_2,algorithm=HMAC_MD5", "key=key_9,algorithm=HMAC_SHA256",
        "algorithm=HMAC_SHA256", "key=,algorithm=HMAC_SHA256", "key=key_2,algorithm=none",
        "key=key_1,algorithm=HMAC_SHA256", "key=key_2,algorithm=HMAC_SHA1",
    ]  # fmt: skip
    for header in bent:
        assert not check(v, good | {SETTINGS_HEADER: header})
    if v.shared:
        del good[SETTINGS_HEADER]
        assert not check(v, good)
    else:
        assert check(v, good | {SETTINGS_HEADER: ""})


def test_spaces_and_order_in_the_settings_header_do_not_matter() -> None:
    """Twilio may write the header in another order tomorrow."""
    v = Variant("x", URL, URL, shared=True)
    assert check(v, headers(v) | {SETTINGS_HEADER: " algorithm = hmac_sha256 , key = key_2 "})


def test_a_hash_named_twice_vouches_for_nothing() -> None:
    """Nobody may choose which of two hashes is looked at."""
    other = hashlib.sha256(b"other").hexdigest()
    url = f"https://a.example/x?bodySHA256={HASH}&bodySHA256={other}"
    mac = sign(url, None, TOKEN)
    assert not valid(url, None, mac, TOKEN, body=BODY)
    assert not valid(url, None, mac, TOKEN, body=b"other")


def test_what_is_no_address_is_refused() -> None:
    """Nonsense is not signed, whatever its signature."""
    for url in ("", "nonsense", "//a.example/x", "https:/a.example"):
        assert not valid(url, {}, sign(url, {}, TOKEN), TOKEN)
    assert not valid(URL, CALL, sign(URL, CALL, ""), "")


def test_any_of_our_addresses_will_do() -> None:
    """A function is reached by the load balancer's name and by its own."""
    given = {HEADER: sign(URL, CALL, TOKEN)}
    assert signed(["https://other.example/x", URL], CALL, given.get, KEYS)
    assert not signed(["https://other.example/x"], CALL, given.get, KEYS)


def test_keys_come_from_the_settings() -> None:
    """The token, shared keys, or both; without any, nothing is open and the setting is named."""
    found = {"TWILIO_AUTH_TOKEN": "t", "TWILIO_SHARED_KEYS": "a=b, c=d=e,"}
    assert Keys.of(found.get) == Keys("t", {"a": "b", "c": "d=e"})
    assert "d=e" not in repr(Keys.of(found.get))
    only_shared = Keys.of({"TWILIO_SHARED_KEYS": "a=b"}.get)
    assert not signed([URL], CALL, {HEADER: sign(URL, CALL, "")}.get, only_shared)
    with pytest.raises(Misconfigured, match="TWILIO_AUTH_TOKEN"):
        Keys.of({}.get)
    with pytest.raises(Misconfigured, match="TWILIO_SHARED_KEYS"):
        Keys.of({"TWILIO_SHARED_KEYS": "nonsense"}.get)
