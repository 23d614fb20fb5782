"""Whether the server in this container answers 200 on /health. Knows its port from the environment.

http.client and not urllib: a proxy in the environment must not come between.
"""

from __future__ import annotations

import http.client
import os
import sys

port = int(os.environ.get("PORT") or os.environ.get("DIGLOT_PORT") or 8000)
try:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    connection.request("GET", "/health")
    sys.exit(connection.getresponse().status != 200)
except OSError:
    sys.exit(1)
