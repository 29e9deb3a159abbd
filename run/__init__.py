"""What runs: the streaming container, and the whole product on one machine."""
