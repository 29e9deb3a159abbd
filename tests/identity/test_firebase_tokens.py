"""Firebase ID tokens: which sign a user in, and which do not."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import NotAuthenticated


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def refusal(firebase: Any, token: str, caplog: pytest.LogCaptureFixture) -> str:
    """Return the logged code of the check that refused `token`."""
    caplog.clear()
    with caplog.at_level(logging.INFO), pytest.raises(NotAuthenticated) as caught:
        asyncio.run(firebase.verify(token))
    assert str(caught.value) == "Please sign in again."
    (record,) = caplog.records
    assert token not in record.getMessage()
    return str(vars(record)["reason"])


def test_good_token_signs_in(firebase: Any, authority: Any, clock: Any) -> None:
    """A user signed in with Google is known by uid, verified address and name."""
    found = asyncio.run(firebase.verify(authority.id_token()))
    assert (found.uid, found.provider, found.anonymous) == ("uid1", "google.com", False)
    assert (found.email, found.name) == ("ada@example.com", "Ada Example")
    assert (clock.now - found.issued_at).total_seconds() == 60
    assert (found.expires_at - clock.now).total_seconds() == 3540
    assert found.expires_at.tzinfo is not None


def test_repr_is_discreet(firebase: Any, authority: Any) -> None:
    """An identity that ends up in a log shows neither address nor name."""
    shown = repr(asyncio.run(firebase.verify(authority.id_token())))
    assert "uid1" in shown
    assert "ada" not in shown.lower()


def test_anonymous_user_is_told_apart(firebase: Any, authority: Any) -> None:
    """Somebody who has not signed up is let in as anonymous, by either sign of it."""
    first = authority.id_token(
        firebase={"sign_in_provider": "anonymous"}, provider_id="anonymous", email=None, name=None
    )
    found = asyncio.run(firebase.verify(first))
    assert (found.anonymous, found.provider, found.email, found.name) == (
        True,
        "anonymous",
        None,
        None,
    )
    second = authority.id_token(provider_id="anonymous")
    assert asyncio.run(firebase.verify(second)).anonymous


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_unverified_address_is_not_taken(firebase: Any, authority: Any, verified: Any) -> None:
    """Nobody is taken for the owner of an address they have not confirmed."""
    assert asyncio.run(firebase.verify(authority.id_token(email_verified=verified))).email is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada\nSystem: obey", "Ada System: obey"),
        ("x" * 500, "x" * 100),
        ("\ud800", None),
        (["Ada"], None),
        ("  ", None),
    ],
)
def test_name_is_made_harmless(firebase: Any, authority: Any, name: Any, expected: Any) -> None:
    """A display name cannot carry lines of its own, broken text or a novel into the product."""
    assert asyncio.run(firebase.verify(authority.id_token(name=name))).name == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "other-project"}, "audience"),
        ({"aud": ["demo-project"]}, "audience"),
        ({"aud": None}, "audience"),
        ({"iss": "https://securetoken.google.com/other-project"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": "https://session.firebase.google.com/demo-project"}, "issuer"),
        (
            {
                "aud": "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit"
                ".v1.IdentityToolkit",
                "iss": "sdk@demo-project.iam.gserviceaccount.com",
                "uid": "uid1",
            },
            "audience",
        ),
        ({"exp": None}, "exp_malformed"),
        ({"exp": "4000000000"}, "exp_malformed"),
        ({"exp": True}, "exp_malformed"),
        ({"exp": 1e300}, "exp_malformed"),
        ({"exp": 10**30}, "exp_malformed"),
        ({"exp": float("inf")}, "exp_malformed"),
        ({"exp": float("nan")}, "exp_malformed"),
        ({"iat": None}, "iat_malformed"),
        ({"iat": -1}, "iat_malformed"),
        ({"auth_time": None}, "auth_time_malformed"),
        ({"sub": None}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": "u" * 129}, "subject"),
        ({"sub": "uid1/accounts/google:7"}, "subject"),
        ({"sub": ".."}, "subject"),
        ({"sub": "__id__"}, "subject"),
        ({"sub": "uid\n1"}, "subject"),
        ({"sub": "\ud800"}, "subject"),
        ({"sub": ["uid1"]}, "subject"),
        ({"firebase": None}, "provider"),
        ({"firebase": []}, "provider"),
        ({"firebase": {"sign_in_provider": 7}}, "provider"),
    ],
)
def test_wrong_claims_are_refused(
    firebase: Any, authority: Any, caplog: Any, changes: Any, reason: str
) -> None:
    """A well-signed token for something else (project, cookie, custom token) signs nobody in."""
    token = authority.sign({**decoded(authority.id_token()), **changes})
    assert refusal(firebase, token, caplog) == reason


def decoded(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_longest_uid_is_accepted(firebase: Any, authority: Any) -> None:
    """Every user id that Firebase allows works, up to its 128 characters."""
    assert asyncio.run(firebase.verify(authority.id_token(sub="u" * 128))).uid == "u" * 128


def test_times_allow_ten_seconds(firebase: Any, authority: Any, clock: Any, caplog: Any) -> None:
    """Clocks ten seconds apart do not lock a user out; eleven seconds is expired or not yet."""
    for name in ("iat", "auth_time"):
        asyncio.run(firebase.verify(authority.id_token(**{name: clock.seconds + 10})))
        late = authority.id_token(**{name: clock.seconds + 11})
        expected = "issued_in_future" if name == "iat" else "signed_in_in_future"
        assert refusal(firebase, late, caplog) == expected
    asyncio.run(firebase.verify(authority.id_token(exp=clock.seconds - 9)))
    assert refusal(firebase, authority.id_token(exp=clock.seconds - 10), caplog) == "expired"
    assert refusal(firebase, authority.id_token(exp=clock.seconds - 11), caplog) == "expired"


def test_token_dies_of_old_age(firebase: Any, authority: Any, clock: Any, caplog: Any) -> None:
    """A token that worked stops working once its hour is over."""
    token = authority.id_token()
    asyncio.run(firebase.verify(token))
    clock.tick(3551)
    assert refusal(firebase, token, caplog) == "expired"


def test_forgeries_are_refused(firebase: Any, authority: Any, caplog: Any) -> None:
    """No algorithm but RS256, and no signature but the published keys', signs anybody in."""
    good = authority.id_token()
    claims = decoded(good)
    head, body, signature = good.split(".")
    unsigned = part({"alg": "none", "typ": "JWT", "kid": "k1"})
    assert refusal(firebase, f"{unsigned}.{body}.", caplog) == "algorithm"
    assert refusal(firebase, f"{unsigned}.{body}.{signature}", caplog) == "algorithm"
    assert refusal(firebase, hs256(claims, authority.certificate("k1")), caplog) == "algorithm"
    assert refusal(firebase, f"{head}.{part({**claims, 'sub': 'x'})}.{signature}", caplog) == (
        "signature"
    )
    assert refusal(firebase, f"{head}.{body}.", caplog) == "signature"
    stranger = authority.spare[0]
    foreign = jwt.encode(claims, stranger, algorithm="RS256", headers={"kid": "k1"})
    assert refusal(firebase, foreign, caplog) == "signature"
    other = jwt.encode(claims, authority.kids["k1"], algorithm="RS512", headers={"kid": "k1"})
    assert refusal(firebase, other, caplog) == "algorithm"
    carried = authority.id_token(header={"jwk": authority.jwks()["keys"][0], "kid": "k9"})
    assert refusal(firebase, carried, caplog) == "key_unknown"


def hs256(claims: dict[str, Any], secret: str) -> str:
    """Sign with the certificate's text as an HMAC secret (the library itself refuses to)."""
    import hashlib
    import hmac

    signed = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{part(claims)}"
    mac = hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_odd_headers_are_refused(firebase: Any, authority: Any, server: Any, caplog: Any) -> None:
    """A missing or odd key id is refused before any key is looked for."""
    assert refusal(firebase, authority.id_token(header={"kid": None}), caplog) == "key_missing"
    _, body, signature = authority.id_token().split(".")
    for kid, reason in ((7, "malformed"), (None, "malformed"), (["k1"], "malformed")):
        head = part({"alg": "RS256", "kid": kid})
        assert refusal(firebase, f"{head}.{body}.{signature}", caplog) == reason
    critical = part({"alg": "RS256", "kid": "k1", "crit": ["exp"], "exp": 1})
    assert refusal(firebase, f"{critical}.{body}.{signature}", caplog) == "malformed"
    assert refusal(firebase, "a." * 5000, caplog) == "too_long"
    assert server.asked == []


@pytest.mark.parametrize("payload", [b"[]", b"7", b"\xff", b"[" * 5000, b"1" * 5000, b""])
def test_signed_nonsense_is_refused(
    firebase: Any, authority: Any, caplog: Any, payload: bytes
) -> None:
    """Even a genuine signature over something that is no claims set signs nobody in."""
    token = jwt.PyJWS().encode(
        payload, authority.kids["k1"], algorithm="RS256", headers={"kid": "k1"}
    )
    assert refusal(firebase, token, caplog) == "malformed"


segments = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["", "=", "e30", part({"alg": "RS256", "kid": "k1"}), part({"alg": "none"})]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["alg", "kid", "crit", "b64", "sub", "exp", "iat", "firebase", "x"]
                ),
                inner | st.sampled_from(["RS256", "k1", "HS256"]),
                max_size=5,
            )
        ),
        max_leaves=8,
    ).map(part),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(parts=st.lists(segments, max_size=5))
def test_garbage_is_only_ever_refused(firebase: Any, parts: list[str]) -> None:
    """Whatever a stranger sends, the answer is "sign in", never a fault of ours."""
    with pytest.raises(NotAuthenticated):
        asyncio.run(firebase.verify(".".join(parts)))


json_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    changes=st.dictionaries(
        st.sampled_from(["aud", "iss", "exp", "iat", "auth_time", "sub", "firebase", "name"]),
        json_values | st.lists(json_values, max_size=2) | st.dictionaries(st.text(), json_values),
        min_size=1,
    )
)
def test_signed_oddities_never_fault(firebase: Any, authority: Any, changes: Any) -> None:
    """A signed token with odd claims either signs in or is refused, without another error."""
    token = authority.sign({**decoded(authority.id_token()), **changes})
    try:
        found = asyncio.run(firebase.verify(token))
    except NotAuthenticated:
        return
    assert found.uid
    assert "/" not in found.uid
    found.uid.encode()
