"""What to say of a port that cannot be used."""

from __future__ import annotations

import errno


def port_trouble(error: OSError, host: str, port: int, option: str) -> str:
    """A sentence on a port that cannot be used, with what to do."""
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user: give one above 1023 with {option}"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken: stop what listens there, or give another port with {option}"
    return f"cannot listen on port {port} of {host} ({error.strerror}): give an address of this machine, or {option}"
