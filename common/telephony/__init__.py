"""The telephone without a network: Media Streams frames, the playback clock, sound, signatures.

Nothing here does I/O (docs/decisions/0008-voice.md): plain values in, plain values out, so that
every rule of the vendor is tested without a call.
"""
