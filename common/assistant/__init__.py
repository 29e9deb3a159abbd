"""The assistant: from a prompt to a journal of events, whoever is watching."""
