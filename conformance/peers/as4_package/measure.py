"""Whole exchanges of the package with itself, for so many seconds: what `bench.as4_package` asks."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from access_point import certificate, party
from as4.peppol import (
    build_peppol_message,
    create_peppol_external_party,
    parse_peppol_message,
    parse_peppol_receipt,
    peppol_security_policy,
)


def exchange(facts: dict[str, Any], content: bytes, sides: dict[str, Any], policy: Any) -> None:
    """One: built, parsed, acknowledged, and the receipt verified."""
    sender, receiver = sides["sender"], sides["receiver"]
    message = build_peppol_message(
        content,
        local_party=sender["internal"],
        remote_party=receiver["external"],
        sender=facts["sender"]["participant"],
        recipient=facts["receiver"]["participant"],
        document_type_identifier_scheme="busdox-docid-qns",
        document_type_identifier_value=facts["document_type"],
        process_identifier=facts["process"],
        sender_country_id="DK",
    )
    body, boundary = message.get_request_data()
    received = parse_peppol_message(
        message.get_http_headers(boundary), body, receiver["internal"], security_policy=policy
    )
    _, signal = received.build_signal()
    receipt = parse_peppol_receipt(signal, receiver["external"].credentials.certificate)
    receipt.verify_non_repudiation(message.signed_references)
    if not received.successful:
        raise SystemExit(f"the package does not take its own message: {received.error}")


def main() -> None:
    """Measure after a second of warming up; print the rate."""
    facts = json.loads(Path(sys.argv[1]).read_text())
    sides = {}
    for side in ("sender", "receiver"):
        said = facts[side]
        own = party(said["party"], said["key"])
        sides[side] = {
            "internal": own,
            "external": create_peppol_external_party(said["party"], own.credentials.certificate),
        }
    policy = peppol_security_policy(certificate(facts["anchors"]))
    content = Path(facts["content"]).read_bytes()
    count, until = 0, time.perf_counter() + 1.0
    while time.perf_counter() < until:
        exchange(facts, content, sides, policy)
    begun = time.perf_counter()
    while (took := time.perf_counter() - begun) < facts["seconds"]:
        exchange(facts, content, sides, policy)
        count += 1
    print(json.dumps({"rate": count / took, "count": count}))


if __name__ == "__main__":
    main()
