"""Plaid's own library as the judge: of what the simulator answers, and of what we ask."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from common.bootstrap import Services
from tests.fakes.plaid import CLIENT_ID, SECRET, FakePlaid, transaction

plaid_library = pytest.importorskip("plaid")


@pytest.fixture
def official(plaid: FakePlaid) -> Iterator[Any]:
    """The library's client, pointed at the simulator."""
    from plaid.api import plaid_api

    keys = {"clientId": CLIENT_ID, "secret": SECRET}
    with plaid_library.ApiClient(plaid_library.Configuration(plaid.origin, keys)) as client:
        yield plaid_api.PlaidApi(client)


def test_the_library_reads_what_the_simulator_answers(official: Any, plaid: FakePlaid) -> None:
    """Every answer that the tests rely on has the types of Plaid's own schema."""
    from plaid.model.accounts_balance_get_request import AccountsBalanceGetRequest
    from plaid.model.accounts_get_request import AccountsGetRequest
    from plaid.model.item_public_token_exchange_request import ItemPublicTokenExchangeRequest
    from plaid.model.item_remove_request import ItemRemoveRequest
    from plaid.model.transactions_sync_request import TransactionsSyncRequest
    from plaid.model.webhook_verification_key_get_request import WebhookVerificationKeyGetRequest

    exchange = ItemPublicTokenExchangeRequest(public_token=plaid.consent())
    token = official.item_public_token_exchange(exchange).access_token
    item = plaid.items[token]
    item.happen("added", transaction("t1", "2026-11-01", 18.25))
    item.happen("removed", transaction("t1", "2026-11-01", 18.25))
    read = official.accounts_get(AccountsGetRequest(access_token=token))
    assert read.accounts[0].balances.current == 905.1 and read.item.institution_name
    fresh = official.accounts_balance_get(AccountsBalanceGetRequest(access_token=token))
    assert fresh.accounts[1].type.value == "credit"
    page = official.transactions_sync(TransactionsSyncRequest(access_token=token))
    assert page.added[0].amount == 18.25 and page.removed[0].transaction_id == "t1"
    wanted = WebhookVerificationKeyGetRequest(key_id=plaid.kid)
    assert official.webhook_verification_key_get(wanted).key.alg == "ES256"
    official.item_remove(ItemRemoveRequest(access_token=token))
    assert plaid.items == {}
    with pytest.raises(plaid_library.ApiException):
        official.accounts_get(AccountsGetRequest(access_token=token))


def test_we_ask_what_the_library_asks(app: Services, official: Any, plaid: FakePlaid) -> None:
    """The library's models take our request bodies whole, and send the same bytes' worth."""
    from plaid.model.item_public_token_exchange_request import ItemPublicTokenExchangeRequest
    from plaid.model.link_token_create_request import LinkTokenCreateRequest
    from plaid.model_utils import validate_and_convert_types

    app.loop.run(app.banks.link("ada"))
    app.loop.run(app.banks.link("ada", hosted=True))
    app.loop.run(app.banks.exchange("ada", plaid.consent()))
    ours = list(plaid.asked)
    for path, body, headers in ours[:2]:
        request = validate_and_convert_types(
            copy.deepcopy(body), (LinkTokenCreateRequest,), ["body"], True, True,
            configuration=plaid_library.Configuration(),
        )  # fmt: skip
        official.link_token_create(request)
        again_path, again, again_headers = plaid.asked[-1]
        assert (again_path, again) == (path, body)
        for name in ("PLAID-CLIENT-ID", "PLAID-SECRET", "Plaid-Version"):
            assert again_headers.get(name) == headers[name]
    exchanged = next(body for path, body, _ in ours if path == "/item/public_token/exchange")
    assert set(exchanged) == set(ItemPublicTokenExchangeRequest(public_token="p").to_dict())
