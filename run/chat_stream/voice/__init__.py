"""Voice: a call is a chat whose turns are spoken (docs/decisions/0008-voice.md).

    phone ── /twilio/connect ──┐            ┌── RealtimeRunner ── RealtimeSocket ── the voice model
                               ├── Line ── Call
    app ── /app/voice/stream ──┘            └── Turns: every exchange is a turn of the chat

`sockets` lets callers in, a `Line` speaks its side's frames, `Call` holds the two ends together,
`Exchange` writes what was said into the chat's turn. Nothing here is imported before a call comes.
"""
