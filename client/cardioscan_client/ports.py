"""What to say of a port that cannot be used."""

from __future__ import annotations

import errno


def port_message(error: OSError, host: str, port: int, option: str) -> str:
    """A sentence on a port that cannot be used, with what to do.

    Args:
        error: what binding it raised.
        host, port: what was asked for.
        option: the option that gives another port.
    """
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user: give one above 1023 with {option}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken, perhaps by a server that runs already: "
            f"stop it, or give another port with {option} (0 takes any free one)"
        )
    return f"cannot listen on port {port} of {host}: {error.strerror}. Give an address of this machine with --host"
