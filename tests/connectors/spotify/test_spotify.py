"""Music found and played on the user's own devices."""

from __future__ import annotations

from common.errors import InvalidInput, NotAllowed, NotFound

from ..conftest import Replay

PLAY = "play_on_spotify"


def test_tracks_are_told_with_their_artist(replay: Replay) -> None:
    """Gaps in the answer are left out; each item links to Spotify."""
    outcome = replay("search_spotify__success")
    assert outcome.summary == "On Spotify: So What by Miles Davis; (no title)."
    assert outcome.result
    assert [source.title for source in outcome.result.sources] == ["So What on Spotify"]
    assert replay("search_spotify__empty").summary == "Spotify has no album zzz."


def test_what_plays_is_told(replay: Replay) -> None:
    """Device and artist are said; silence and an advertisement are answers too."""
    playing = replay("get_spotify_playback__success").summary
    assert playing == "Playing on Kitchen: So What by Miles Davis."
    for case in ("empty", "advert"):
        told = replay(f"get_spotify_playback__{case}").summary
        assert told == "Nothing is playing on Spotify."


def test_commands_are_confirmed(replay: Replay) -> None:
    """A track and an album are started each in their way, whatever Spotify answers."""
    for case in ("success", "album"):
        assert replay(f"{PLAY}__{case}").summary == "Spotify is playing."
    assert replay("pause_spotify__success").summary == "Spotify is paused."
    assert replay("skip_on_spotify__success").summary == "Skipped to the previous item."


def test_what_is_missing_is_told(replay: Replay) -> None:
    """A sleeping device and a missing subscription are told apart."""
    asleep = replay(f"{PLAY}__no_device")
    assert isinstance(asleep.error, NotFound) and "device" in asleep.summary
    free = replay(f"{PLAY}__no_premium")
    assert isinstance(free.error, NotAllowed) and "Premium" in free.summary


def test_titles_are_no_uris(replay: Replay) -> None:
    """The model is told to search first."""
    outcome = replay.run(PLAY, {"uri": "So What"})
    assert isinstance(outcome.error, InvalidInput) and "search_spotify" in outcome.summary
