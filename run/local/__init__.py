"""The whole product on one machine, and the operator's commands: `python -m run.local --help`."""
