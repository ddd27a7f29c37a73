"""A sender of another make: builds messages with `accesspoint` alone, and each step can be done wrongly.

It has the keys and the agreement of an estate's municipality, and none of the kernel: what it posts is what any other product
might post. Tests and the seeded faults use it where our own gateway could not be made to err.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint import ebms, names, outbound
from accesspoint.client import Client, Response, client_context
from accesspoint.compression import compress
from accesspoint.outbound import Acknowledged, judge_answer
from accesspoint.pmode import PMode
from accesspoint.profiles import PROFILES
from accesspoint.sbdh import HeaderReader
from accesspoint.tokens import KeyReference, candidates
from accesspoint.wss import SigningKey, Trust, sign
from conformance.estate import ACTION, PARTY_TYPE, SERVICE, SERVICE_TYPE, Estate
from conformance.pki import Identity
from core.clock import SystemClock
from core.trust import load_identity

_PATIENCE: Final = 120.0


@dataclass(frozen=True)
class Sent:
    """What the peer posts."""

    message: outbound.Message
    body: bytes
    pmode: PMode

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers."""
        return {"Content-Type": self.message.content_type}


class Peer:
    """The municipality's access point, if it were not Stafet: same keys, same agreement, other program."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        own = load_identity(estate.municipality.settings().keys_path, "signing")
        self.identity = Identity(cast(rsa.RSAPrivateKey, own.key), own.certificate)
        hospital = estate.hospital.settings().keys_path
        self._theirs = load_identity(hospital, "signing").certificate
        self.pmode = PMode(
            "peer",
            "hospital",
            PROFILES[estate.profile],
            ebms.Party(ebms.Typed(estate.municipality.authority, PARTY_TYPE), names.INITIATOR),
            ebms.Party(ebms.Typed(estate.hospital.authority, PARTY_TYPE), names.RESPONDER),
            ebms.Typed(SERVICE, SERVICE_TYPE),
            ACTION,
            their_encryption_certificate=load_identity(hospital, "decryption").certificate,
        )

    def trust(self) -> Trust:
        """The hospital's signing certificate and no other."""
        return lambda reference: believed(reference, self._theirs)

    def message(
        self,
        payloads: Sequence[bytes],
        *,
        message_id: str = "",
        ping: bool = False,
        identity: Identity | None = None,
        pmode: PMode | None = None,
        properties: tuple[ebms.Property, ...] = (),
        conversation: str = "conversation-1",
        media_type: str = "application/json",
    ) -> Sent:
        """A message built afresh; signed by ``identity``, under ``pmode``; payloads of one ``media_type``."""
        pmode, identity = pmode or self.pmode, identity or self.identity
        if ping:
            pmode = replace(pmode, service=ebms.Typed(names.TEST_SERVICE), action=names.TEST_ACTION)
        header = ebms.UserMessage(
            message_id or outbound.new_cid().replace("@stafet", "@municipality.example"),
            SystemClock().now(),
            pmode.us,
            pmode.them,
            pmode.service,
            pmode.action,
            conversation,
            pmode.agreement,
            None,
            None,
            pmode.mpc,
            properties,
        )
        bodies = [compress(octets) for octets in payloads]
        parts = [
            outbound.Part(outbound.new_cid(), media_type, True, len(b), hashlib.sha256(b).digest()) for b in bodies
        ]
        key = cast(SigningKey, identity.key)
        document = None
        if pmode.profile.demands.envelope and payloads:
            reader = HeaderReader()
            reader.feed(payloads[0])
            document = reader.header()
        message = outbound.build(
            pmode, header, parts, identity.certificate, lambda octets: sign(key, octets), header=document
        )
        return Sent(message, message.whole(bodies), pmode)

    async def post(self, sent: Sent) -> Response:
        """Post it to the hospital over TLS. Raises `Unreachable`."""
        anchors = (self.estate.municipality.home / "config" / "certificates" / "demo-ca.pem").read_text()
        client = Client()
        try:
            url = f"https://localhost:{self.estate.hospital.reached}/as4"
            return await client.post(
                url,
                sent.message.content_type,
                sent.body,
                length=len(sent.body),
                tls=client_context(anchors),
                answer_within=_PATIENCE,
            )
        finally:
            await client.close()

    def judge(self, sent: Sent, response: Response) -> Acknowledged:
        """What the answer proves; raises as `judge_answer` does."""
        return judge_answer(
            sent.message, sent.pmode, self.trust(), response.status, response.content_type, response.body
        )


def believed(reference: KeyReference, certificate: x509.Certificate) -> Sequence[x509.Certificate]:
    """What ``reference`` means, if it means this certificate."""
    return candidates(reference, [certificate])
