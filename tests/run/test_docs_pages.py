"""The page of settings: every key that is missing somewhere leads to a row that explains it."""

from __future__ import annotations

import re
from collections.abc import Callable

from common.bootstrap import Services
from common.oauth.providers import PROVIDERS
from common.settings import settings_table
from run.chat_stream.app import create_app


def test_every_setting_has_a_row_of_its_own(services: Callable[..., Services]) -> None:
    """Settings, connectors' keys, providers' clients: each once, and no value of any."""
    made = services(YELP_API_KEY="of-a-test")
    answer = create_app(made).test_client().get("/docs/settings")
    assert answer.status_code == 200 and "default-src 'self'" in str(answer.headers)
    rows = re.findall(r'<tr id="([^"]+)">', answer.text)
    assert len(rows) == len(set(rows))
    wanted = {name for name, _, _ in settings_table()}
    wanted |= {name for each in PROVIDERS.values() for name in each.settings}
    for entry in made.registry.entries.values():
        wanted |= set(entry.connector.secrets)
    assert set(rows) >= wanted
    assert "of-a-test" not in answer.text and "`" not in answer.text
    assert "https://docs.developer.yelp.com" in answer.text


def test_what_a_client_lacks_is_named(services: Callable[..., Services]) -> None:
    """A service with its user's account is not offered while nobody has registered for it."""
    made = services(SPOTIFY_CLIENT_ID="1", SPOTIFY_CLIENT_SECRET="of-a-test")
    config = create_app(made).test_client().get("/client/config").json or {}
    assert config["firebase"] is None
    shown = {each["slug"]: each for each in config["connectors"]}
    assert shown["gmail"]["missing"] == ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"]
    assert (shown["spotify"]["missing"], shown["spotify"]["on"]) == ([], False)
    assert (shown["plaid"]["account"], shown["plaid"]["on"]) == ("plaid", False)
    assert shown["open_meteo"]["on"] is True
