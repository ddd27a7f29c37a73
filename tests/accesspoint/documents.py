"""Business documents for tests: a right one, and a way to change it in one place."""

from __future__ import annotations

from accesspoint.names import PARTICIPANTS, SBDH

SENDER, RECEIVER = "0088:5790000000005", "0088:5790000000012"
"""Participants that nobody has."""
DOCUMENT = f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- fictitious -->
<StandardBusinessDocument xmlns="{SBDH}"><StandardBusinessDocumentHeader>
  <HeaderVersion>1.0</HeaderVersion>
  <Sender><Identifier Authority="{PARTICIPANTS}">{SENDER}</Identifier></Sender>
  <Receiver><Identifier Authority="{PARTICIPANTS}">
    {RECEIVER}
  </Identifier></Receiver>
  <DocumentIdentification><Standard>urn:fictitious:notes</Standard><TypeVersion>1</TypeVersion>
    <InstanceIdentifier>0d6b3a8e-0000-4000-8000-000000000001</InstanceIdentifier><Type>Note</Type>
    <CreationDateAndTime>2026-03-01T12:00:00Z</CreationDateAndTime></DocumentIdentification>
  <BusinessScope><Scope><Type>COUNTRY_C1</Type><InstanceIdentifier>DK</InstanceIdentifier></Scope></BusinessScope>
</StandardBusinessDocumentHeader><Note xmlns="urn:fictitious:notes"><![CDATA[<!DOCTYPE html>]]></Note></StandardBusinessDocument>
"""


def document(*changes: tuple[str, str]) -> bytes:
    """The document with each first text replaced by the second; it must be there."""
    text = DOCUMENT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text.encode()


def manifest(*items: str) -> str:
    """A Manifest of so many items, to be put before the BusinessScope."""
    listed = "".join(
        f"<ManifestItem><MimeTypeQualifierCode>application/pdf</MimeTypeQualifierCode>"
        f"<UniformResourceIdentifier>{item}</UniformResourceIdentifier></ManifestItem>"
        for item in items
    )
    return f"<Manifest><NumberOfItems>{len(items)}</NumberOfItems>{listed}</Manifest><BusinessScope>"


def alone(*changes: tuple[str, str]) -> bytes:
    """The header by itself, without its document."""
    text = document(*changes).decode()
    begin, end = text.index("<StandardBusinessDocumentHeader"), text.index("</StandardBusinessDocumentHeader>")
    head = text[begin:end] + "</StandardBusinessDocumentHeader>"
    return head.replace(
        "<StandardBusinessDocumentHeader", f'<StandardBusinessDocumentHeader xmlns="{SBDH}"', 1
    ).encode()
