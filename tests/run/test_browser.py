"""The web client in a real browser against the real server: sign in, ask, come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fakes.vendors import Vendors
from tests.run.serving import Server


def test_a_person_signs_in_asks_and_finds_the_conversation_again(
    start: Callable[..., Server], page: Any
) -> None:
    """The printed link signs in; answers, calls and cards stream; a reload loses nothing."""
    from playwright.sync_api import expect

    def part(name: str) -> Any:
        return page.get_by_test_id(name)

    def ask(text: str) -> None:
        part("composer").fill(text)
        part("composer").press("Enter")

    with Vendors() as vendors:
        server = start(ODAI_EGRESS_MAP=vendors.egress_map)
        assert "offline planner" in server.output
        assert server.get("/healthz", "")["status"] == "ok"
        assert server.get("/client/config", "")["offline"] is True
        page.goto(server.sign_in_link)
        expect(part("composer")).to_be_visible()
        assert "token" not in page.url

        ask("what's the weather in Boston tomorrow?")
        expect(part("message-user")).to_have_text(["what's the weather in Boston tomorrow?"])
        expect(part("message-assistant").last).to_contain_text("Boston")
        expect(part("tool-call").first).to_be_visible()
        expect(part("tool-output").first).to_contain_text("Boston")
        expect(part("suggestion").filter(visible=True).first).to_be_visible()

        ask("convert 250 euros to dollars")
        expect(part("message-assistant").last).to_contain_text("270.5")
        expect(part("tool-output").last).to_contain_text("270.5")
        expect(part("stop")).to_be_hidden()
        assert {host.partition("/")[0] for host in vendors.asked} == {
            "geocoding-api.open-meteo.com",
            "api.open-meteo.com",
            "api.frankfurter.dev",
        }
        before = part("message-assistant").all_inner_texts()

        page.reload()
        expect(part("message-user")).to_have_count(2)
        expect(part("message-assistant").last).to_contain_text("270.5")
        assert part("message-assistant").all_inner_texts() == before
        expect(part("tool-output").first).to_contain_text("Boston")

        part("new-chat").click()
        expect(part("message-user")).to_have_count(0)
        part("chat-item").first.click()
        expect(part("message-user")).to_have_count(2)
        expect(part("message-assistant").last).to_contain_text("270.5")
        expect(part("error")).to_have_count(0)
        assert page.complaints == []
        assert server.stop() == 0
