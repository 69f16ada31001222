"""Clients of a service that speak to it byte by byte."""

import socket


def read_to_end(client: socket.socket) -> bytes:
    """All that comes until the connection is closed, or reset."""
    received = bytearray()
    try:
        while piece := client.recv(1 << 16):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)
