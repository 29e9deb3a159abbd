"""Loopback stand-ins for vendors: real sockets and real wire formats, scripted by the test."""
