"""The Cloud Run container: the chat socket, tickets, the web client."""
