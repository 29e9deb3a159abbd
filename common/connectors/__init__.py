"""One module for each vendor; none knows another. See docs/connectors.md."""
