"""How many messages the Python package ``as4`` builds and parses a second, in one process, without HTTP and without storage.

One exchange is all that the package does of one: build (envelope, compress, sign, encrypt, the octets of the request), parse
(verify, decrypt, unpack, look into the envelope), build the receipt, verify the receipt. Keys are RSA-2048.
"""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from conformance.peers.as4_package import SOURCE, python
from conformance.peppol import NOTE, PARTICIPANT, PROCESS, note
from conformance.pki import Authority, write

SIZE: Final = 10_000
"""Octets of a document's content, before it is enveloped."""


def rate(folder: Path, seconds: float, at: datetime) -> float:
    """Exchanges a second, measured for so long in a process of the package's own environment; ``at`` is when its keys begin to be
    valid. Raises `PeerFailed` when the environment cannot be made, `subprocess.CalledProcessError` when an exchange fails."""
    authority = Authority("Stafet bench CA", at)
    facts: dict[str, Any] = {
        "seconds": seconds,
        "anchors": str(folder / "ca.pem"),
        "process": PROCESS,
        "document_type": NOTE,
    }
    write(folder / "ca.pem", authority.pem())
    for side, name in (("sender", "municipality"), ("receiver", "hospital")):
        identity = authority.issue(name, "both")
        write(folder / f"{name}.pem", identity.key_pem() + identity.chain_pem(), secret=True)
        facts[side] = {"party": name, "key": str(folder / f"{name}.pem"), "participant": PARTICIPANT[name]}
    content = folder / "content.xml"
    content.write_bytes(note(os.urandom(SIZE // 2)))  # digits of noise: they compress to about half
    facts["content"] = str(content)
    (folder / "bench.json").write_text(json.dumps(facts))
    command = [python(), str(SOURCE / "measure.py"), str(folder / "bench.json")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["rate"])
