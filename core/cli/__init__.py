"""The command line: `stafet`.

Rules:

1. Every command takes ``--json`` and then prints one JSON document on standard output; progress and logs go to standard error.
2. Exit codes are those of `core.errors`: 0 done, 2 asked wrongly, 3 refused, 4 payload damaged, 5 the node must not go on.
3. A mistake ends in one sentence that says what to change, never in a traceback.
4. While a node runs, what writes goes through its local socket; otherwise the command takes the node's lock itself.
"""

from core.cli.main import app, main

__all__ = ["app", "main"]
