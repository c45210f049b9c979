"""The demo's port: probed before anything is set up; daphne's runserver hangs on one that is taken."""

import errno
import socket
import sys


def why_not(address: str, port: int) -> str | None:
    """Say why nothing can listen there; None if it can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"Port {port} is taken. Choose another one: make run PORT={port + 1}"
            return f"Can't listen on {address}:{port}: {error.strerror}"
        except OverflowError:
            return f"{port} is not a port: it must be 0 to 65535"
    return None


def main(text: str) -> str | None:
    """Probe the port that was given as text on this machine's own address."""
    return why_not("127.0.0.1", int(text)) if text.isdecimal() else f"PORT={text} is not a number"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
