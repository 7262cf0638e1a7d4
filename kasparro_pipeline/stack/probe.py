"""`python -m kasparro_pipeline.stack.probe ADDRESS`: the health check of the containers, as an exit status.

`http://…` must answer with a status below 400, `tcp://…` must take a connection. Only the standard library,
for it runs every few seconds.
"""

import http.client
import socket
import sys
from urllib.parse import urlsplit

TIMEOUT = 5


def answers(address: str) -> bool:
    """Whether an address answers within `TIMEOUT` seconds."""
    url = urlsplit(address)
    try:
        if url.scheme == "tcp":
            socket.create_connection((url.hostname or "", url.port or 0), timeout=TIMEOUT).close()
            return True
        connection = http.client.HTTPConnection(url.netloc, timeout=TIMEOUT)
        connection.request("GET", url.path or "/")
        return connection.getresponse().status < http.client.BAD_REQUEST
    except (OSError, http.client.HTTPException) as error:
        print(f"{address}: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(not all(map(answers, sys.argv[1:])))
