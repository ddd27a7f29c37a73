"""Two access points of a network like Peppol: the estate's organisations under the profile ``peppol``, and documents for them.

Authority, participants and identifiers of documents are fictitious; what the profile demands is the real thing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from accesspoint.names import PARTICIPANTS, PEPPOL_PARTY, PEPPOL_PROCESSES, SBDH
from conformance.estate import FILES, INTEGRATION, Estate, Organisation
from conformance.pki import Authority, write

PROCESS: Final = "urn:fictitious:process:homecare"
ROOT: Final = "urn:fictitious:notes"
PARTICIPANT: Final = {"municipality": "0088:5790000000005", "hospital": "0088:5790000000012"}
"""Who stands behind whom."""
_LINE: Final = 60_000


def document_type(name: str) -> str:
    """The identifier of a document type, in the scheme busdox-docid-qns."""
    return f"{ROOT}::{name}##urn:fictitious:stafet::1.0"


NOTE: Final = document_type("Note")
"""What is sent by default."""


def document(sender: str, receiver: str, content: bytes, document_id: str) -> bytes:
    """``content``, an XML fragment without a declaration, in its envelope [Peppol Business Message Envelope 2.0]."""
    scopes = "".join(
        f"<Scope><Type>{kind}</Type><InstanceIdentifier>{value}</InstanceIdentifier>{more}</Scope>"
        for kind, value, more in (
            ("DOCUMENTID", NOTE, "<Identifier>busdox-docid-qns</Identifier>"),
            ("PROCESSID", PROCESS, f"<Identifier>{PEPPOL_PROCESSES}</Identifier>"),
            ("COUNTRY_C1", "DK", ""),
        )
    )
    head = (
        f'<StandardBusinessDocument xmlns="{SBDH}"><StandardBusinessDocumentHeader><HeaderVersion>1.0</HeaderVersion>'
        f'<Sender><Identifier Authority="{PARTICIPANTS}">{sender}</Identifier></Sender>'
        f'<Receiver><Identifier Authority="{PARTICIPANTS}">{receiver}</Identifier></Receiver>'
        f"<DocumentIdentification><Standard>{ROOT}</Standard><TypeVersion>1.0</TypeVersion>"
        f"<InstanceIdentifier>{document_id}</InstanceIdentifier><Type>Note</Type>"
        "<CreationDateAndTime>2026-03-02T09:30:00Z</CreationDateAndTime></DocumentIdentification>"
        f"<BusinessScope>{scopes}</BusinessScope></StandardBusinessDocumentHeader>"
    )
    return head.encode() + content + b"</StandardBusinessDocument>"


def note(octets: bytes) -> bytes:
    """Octets as the hexadecimal content of a fictitious document, in lines: parsers have a limit to one text."""
    digits = octets.hex().encode()
    lines = (b"<Line>%s</Line>" % digits[at : at + _LINE] for at in range(0, len(digits), _LINE))
    return b'<Note xmlns="%s">%s</Note>' % (ROOT.encode(), b"".join(lines))


class PeppolEstate(Estate):
    """An estate whose access points are called as their certificates are; ``partner`` as for any other."""

    def __init__(self, root: Path, **more: Any) -> None:
        super().__init__(root, profile="peppol", **more)

    def _keys(self, one: Organisation, authority: Authority) -> None:
        """One certificate to sign with and to be encrypted for, whose common name is the party id."""
        super()._keys(one, authority)
        identity = authority.issue(one.authority, "both", organisation=one.title)
        for name in ("signing", "decryption"):
            write(one.home / "keys" / f"{name}.pem", identity.key_pem() + identity.chain_pem(), secret=True)
            for reader in self.both:
                write(reader.home / "config" / "certificates" / f"{one.name}-{name}.pem", identity.certificate_pem())

    def _party(self, one: Organisation) -> dict[str, Any]:
        serves = [{"value": PARTICIPANT[one.name], "type": PARTICIPANTS}]
        party_id = {"value": one.authority, "type": PEPPOL_PARTY}
        return {**super()._party(one), "party_id": party_id, "serves": serves}

    def _partner(self, one: Organisation, other: Organisation) -> dict[str, Any]:
        made = super()._partner(one, other)
        service = {"value": PROCESS, "type": PEPPOL_PROCESSES}
        exchanges = [
            {"integration": integration, "service": dict(service), "action": f"busdox-docid-qns::{document_type(name)}"}
            for integration, name in ((INTEGRATION, "Note"), (FILES, "File"))
        ]
        return {
            **made,
            "party_id": {"value": other.authority, "type": PEPPOL_PARTY},
            "exchanges": exchanges,
            **self.partner,
        }
