"""The connect button: a path of our own, for what the user needs, and no secret in it."""

from __future__ import annotations

import pytest

from common.oauth.providers import PROVIDERS

from ..conftest import Replay


@pytest.mark.parametrize("feature", ["all", *PROVIDERS["google"].features])
def test_the_button_leads_to_our_sign_in(replay: Replay, feature: str) -> None:
    """Clients of the original know the response type; the address asks for this feature alone."""
    outcome = replay.run("connect_google_account", {"feature": feature})
    assert outcome.result is not None
    assert outcome.result.response_type == "connect_google_account"
    query = "" if feature == "all" else f"?feature={feature}"
    assert outcome.result.data["url"] == f"/auth/google/login{query}"
    assert "button" in outcome.summary
