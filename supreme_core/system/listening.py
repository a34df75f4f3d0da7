"""Ports of this machine, whether it has IPv4, IPv6 or both."""

import socket


def every_address() -> str:
    """Address that a server binds to be reached at every address of the machine, of either kind."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


def bound(host: str = "", port: int = 0) -> socket.socket:
    """A port at an address, "" for every one; 0 leaves it to the system which port."""
    address = host or every_address()
    return socket.create_server(
        (address, port),
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        dualstack_ipv6=address == "::",
    )
