"""An access point around the Python package ``as4``, which builds and parses messages and leaves HTTP to others.

Runs in the package's own virtual environment, with the standard library beside it. What is decided about a message is the
package's; here octets are moved, keys are read, and what came is written down. Commands come as JSON lines on standard input, one
answer each.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from as4 import (
    AS4LocalPrivateKey,
    AS4References,
    BaseAS4ReceiptableError,
    ParticipantNotServicedError,
    ReceiptVerificationError,
)
from as4.peppol import (
    BusdoxDocidQnsDocumentIdentifier,
    PeppolAS4MessageBuilderArgs,
    PeppolAS4Profile,
    PeppolSendingExchange,
    create_peppol_external_party,
    create_peppol_internal_party,
    parse_peppol_message,
    peppol_security_policy,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

Facts = dict[str, Any]


def party(party_id: str, path: str) -> Any:
    """One of our keys with its certificate, as the package wants it."""
    octets = Path(path).read_bytes()
    key = AS4LocalPrivateKey(load_pem_private_key(octets, None))
    return create_peppol_internal_party(party_id, x509.load_pem_x509_certificates(octets)[0], key)


def certificate(path: str) -> x509.Certificate:
    """A certificate."""
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


class AccessPoint:
    """Both directions, under one agreement."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._party = party(facts["us"], facts["key"])
        self._partner = create_peppol_external_party(facts["them"], certificate(facts["certificate"]))
        self.trust(facts["anchors"])
        self._client = ssl.create_default_context(cafile=facts["anchors"])

    def trust(self, path: str) -> None:
        """Believe what is under another authority."""
        self._policy = peppol_security_policy(certificate(path))

    def _accepts(self, participant: str) -> None:
        if participant != self._facts["serves"]:
            raise ParticipantNotServicedError

    # -- receiving

    def receive(self, headers: Facts, body: bytes) -> tuple[Facts, bytes]:
        """The answer to a request, once its payload is in a file."""
        said = parse_peppol_message(headers, body, self._party, self._accepts, self._policy)
        if said.successful:
            assert said.message is not None
            (payload,) = said.message.decrypted_data.values()
            self._keep(said.message_id, payload)
        return said.build_signal()

    def _keep(self, message_id: str, payload: bytes) -> None:
        folder = Path(self._facts["inbox"]) / message_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part-0").write_bytes(payload)
        with (folder / "arrivals").open("a") as times:
            times.write("1\n")

    # -- sending

    def send(self, wanted: Facts) -> Facts:
        """Build a message of the content in a file, post it, and have the package judge the answer."""
        references = AS4References(message_id=wanted["id"]) if "id" in wanted else AS4References()
        ours = party(self._facts["us"], wanted["key"]) if "key" in wanted else self._party
        exchange = PeppolSendingExchange(
            profile=PeppolAS4Profile, local_party=ours, remote_party=self._partner, identifiers=references
        )
        arguments = PeppolAS4MessageBuilderArgs(
            sender=self._facts["serves"],
            recipient=wanted.get("recipient", self._facts["recipient"]),
            document_type_identifier=BusdoxDocidQnsDocumentIdentifier.from_identifier_value(
                wanted.get("type", self._facts["document_type"])
            ),
            document_identification_instance_identifier=f"document-{references.conversation_id}",
            process_identifier=self._facts["process"],
            c1_country_id="DK",
        )
        headers, body = exchange.build(Path(wanted["file"]).read_bytes(), arguments)
        assert exchange.message is not None
        (document,) = exchange.message.decrypted_data.values()
        Path(wanted["sent"]).write_bytes(document)
        if "tampered" in wanted:
            at = len(body) - 200
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        exchange.mark_sent()
        if "repeated" in wanted and not self._judged(exchange, self._post(headers, body))["receipt"]:
            return {"reason": "no receipt the first time"}
        return self._judged(exchange, self._post(headers, body))

    def _post(self, headers: Facts, body: bytes) -> bytes:
        url = urlsplit(self._facts["their_url"])
        connection = http.client.HTTPSConnection(url.hostname or "", url.port, context=self._client, timeout=120)
        try:
            connection.request("POST", url.path, body, headers)
            return connection.getresponse().read()
        finally:
            connection.close()

    def _judged(self, exchange: Any, answer: bytes) -> Facts:
        said: Facts = {"message": exchange.message_id}
        try:
            exchange.receive_signal(answer)
        except (ReceiptVerificationError, BaseAS4ReceiptableError, ValueError) as error:
            said["reason"] = f"{type(error).__name__}: {error}"
        said |= {"state": str(exchange.state), "receipt": exchange.successful}
        for error in exchange.errors:
            detail = error.error_detail.value if error.error_detail is not None else ""
            said |= {"errors": error.error_code, "detail": detail}
        return said


def server(point: AccessPoint, facts: Facts) -> ThreadingHTTPServer:
    """An HTTPS server that hands every POST to the package."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers, answer = point.receive({"Content-Type": self.headers["Content-Type"]}, body)
            self.send_response(200)
            self.send_header("Content-Type", headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Only what goes wrong is written, by the server itself."""

    made = ThreadingHTTPServer(("127.0.0.1", facts["port"]), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(facts["tls"])
    made.socket = context.wrap_socket(made.socket, server_side=True)
    made.daemon_threads = True
    return made


def main() -> None:
    """Serve until standard input ends."""
    facts = json.loads(Path(sys.argv[1]).read_text())
    point = AccessPoint(facts)
    serving = server(point, facts)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    commands: dict[str, Callable[[Facts], Facts]] = {
        "send": point.send,
        "trust": lambda wanted: point.trust(wanted["path"]) or {},
    }
    print(json.dumps({"port": facts["port"]}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        try:
            answer = commands[wanted.pop("command")](wanted)
        except Exception as error:  # whatever the package raises is what it says
            answer = {"reason": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
