"""Prompt injection: strangers' text tells the model what to do, and the model obeys.

After AgentDojo (https://arxiv.org/abs/2406.13352) in kind, of our own design: our tools, our rules,
and a model that is scripted to do whatever the injected text says, however well it is hidden. So
the figure says what the rules alone hold back, and nothing of how easily some model is led astray.

    python -m tests.trust.injection              print the score
    python -m tests.trust.injection --publish    and write it into docs/security.md
"""
