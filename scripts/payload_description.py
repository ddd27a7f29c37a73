"""docs/reference/payload-description.md: what each field of the payload description is called in every protocol.

Rules:

1. The fields, their types and meanings come from the model; what others call them is written here, one row a field.
2. A field without a row, and a row without a field, is an error.
3. Only what a schema, a sample or a product's public text says is written down. What is not known has no counterpart.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from core.description import Description
from core.schema import PAYLOAD, attribute_docs, published
from scripts.marks import DocsError

NONE: Final = "no counterpart"
HEADS: Final = ("CloudEvents", "AS4", "SFTP trigger and metadata", "Hændelsesbesked", "SF2900", "MeMo")


class Row(NamedTuple):
    """What a field is called elsewhere, in the order of `HEADS`."""

    cloud_events: str
    as4: str
    sftp: str
    event_message: str
    sf2900: str
    memo: str


ROWS: Final = {
    "type": Row(
        "`type`",
        f"{NONE}: what the partner's exchange for that Service and Action says (`type`), else its integration's first type",
        "`SFTPDynamicRoutingInfo/InfRef`",
        "`Filtreringsdata/Beskedtype`",
        "`DistributionObject/ObjektType`; of a form `Meddelelse/FormularType`",
        "`MessageHeader/messageType`; the kind of letter is `MessageHeader/messageCode`",
    ),
    "version": Row("`typeversion`", NONE, NONE, "`BeskedVersion`", NONE, "`Message/@memoVersion`"),
    "sender": Row(
        "`sender` in what is pulled; in what is published it is who has authenticated",
        "`From/PartyId`, as the system that the partner's file names",
        "`FileDescriptor/Sender`; `SFTPDynamicRoutingInfo/SenderIt-system` and `SenderAuthority`",
        "`Leveranceinformation/Kildesystem`",
        "`Registrering/RegistreringItSystem`; its authority is `DistributionContext/AfsendendeMyndighed`",
        "`Sender/AttentionData/GeneratingSystem`; its authority is `Sender/senderID`",
    ),
    "receiver": Row(
        f"{NONE}: a notification goes to those who subscribe",
        f"{NONE}: routes decide. `To/PartyId` is kept as `as4.to`, `finalRecipient` as `as4.property.finalRecipient`",
        "`FileDescriptor/Recipients`; `SFTPDynamicRoutingInfo/RecipientIt-system` and `RecipientAuthority`",
        "`Filtreringsdata/TilladtModtager` limits who may have it; it addresses nobody",
        "`RoutingValg/RoutingModtagerAktoer` (`system`), within `RoutingMyndighed`",
        "`Recipient/recipientID`; the receiving unit is `Recipient/ContactPoint/contactPointID` (`function`)",
    ),
    "classifications": Row(
        "`classifications`: `scheme=code`, spaces between",
        f"{NONE} of its own: message properties are kept as `as4.property.<name>`",
        NONE,
        "`ObjektRegistrering/OpgaveEmne` (KLE), `ObjektRegistrering/ObjektHandling` (what happened)",
        "`RoutingKLEEmneHandling/RoutingKLEEmne`, `RoutingHandlingFacet`; of the object `KLEEmneForslag`, `HandlingFacetForslag`",
        "`kle:KLEdata/subjectKey` and `activityFacet`; `form:FORMdata/taskKey` and `activityFacet`",
    ),
    "references": Row(
        "`references`: `kind=id`, spaces between",
        f"{NONE} of its own: `RefToMessageId` is kept as `as4.ref-to-message-id`",
        "`FileDescriptor/SendersFileId`",
        "`RelateretObjekt/ObjektId` with `ObjektType` and `ObjektRolle`; `ObjektRegistrering/ObjektId`",
        "`SagForslag` (case), `ID` (object), `DistributionContext/DokumentFilNavn` (a file sent by SFTP)",
        "`ContentData/CaseID/caseID` with `caseSystem`; of a reply `ReplyData/caseID`; the sender's own `messageID`",
    ),
    "subjects": Row(
        "`subjects`, spaces between (`subject` is another thing: it is for routing and is not sealed)",
        NONE,
        NONE,
        "`RelateretObjekt/ObjektId` and `ObjektRegistrering/ObjektId` where the `ObjektType` is Person",
        "`DokumentPart/Part`; of a journal post `PartAngivelse`",
        "`ContentData/grd:CPRdata/cprNumber`, `ContentData/grd:CVRdata/cvrNumber`",
    ),
    "sensitivity": Row(
        "`sensitivity`, else the integration's",
        f"{NONE}: the integration's",
        NONE,
        "`Leveranceinformation/Sikkerhedsklassificering`",
        NONE,
        NONE,
    ),
    "occurred": Row(
        "`time`",
        "`MessageInfo/Timestamp`",
        "`SFTPDynamicRoutingInfo/SenderTimestamp`",
        "`ObjektRegistrering/Registreringstidspunkt`; the message was made at `Leveranceinformation/Dannelsestidspunkt`",
        "`Registrering/FraTidsPunkt`",
        "`MessageBody/createdDateTime`",
    ),
    "expires": Row(
        "`expires`", NONE, NONE, "`GyldighedTil`", NONE, f"{NONE} (`replyByDateTime` says when an answer is due)"
    ),
    "priority": Row("`priority`, else the integration's", f"{NONE}: the integration's", NONE, NONE, NONE, NONE),
    "correlation_id": Row(
        "`correlationid`",
        "`CollaborationInfo/ConversationId`; a parcel without one sends its own id",
        "`SFTPDynamicRoutingInfo/TransactionId`",
        "`Leveranceinformation/TransaktionsId`",
        "`DistributionContext/AnvenderTransaktionsID`",
        "`ReplyData/messageUUID`, of the message that is answered",
    ),
    "process_id": Row("`processid`", NONE, NONE, "`Filtreringsdata/TvaergaaendeProces`", NONE, NONE),
    "degree": Row(
        f"{NONE}: the integration's", f"{NONE}: the integration's", NONE, NONE, NONE, NONE
    ),
    "media_type": Row(
        "`datacontenttype`",
        "the part property `MimeType`, with `CharacterSet` where it stands beside it",
        NONE,
        "`Base64/@content-type`; else `Beskeddata` is XML",
        "`DelAttributter/MimeType`",
        "`File/encodingFormat`",
    ),
    "size": Row(
        f"{NONE}: counted", f"{NONE}: counted", "`FileDescriptor/SizeInBytes`", NONE, "`DelAttributter/Filstoerrelse`", NONE
    ),
    "digest": Row(f"{NONE}: computed", f"{NONE}: computed from the payload as it was before compression", NONE, NONE, NONE, NONE),
    "attributes": Row(
        "every other attribute, as `rest.<name>`: `rest.id`, `rest.source`, `rest.subject`, …",
        "`as4.message-id`, `as4.from`, `as4.to`, `as4.service`, `as4.action`, `as4.property.<name>`, `as4.part-property.<name>`",
        "the elements of other namespaces in `FileContentDescriptor`; `RouteParameterList/RouteParameter`; `FileTransferUUID`",
        "`LokalUdvidelse` of the registration and of the delivery; `Leveranceruter`; `Modtagerhandling`",
        "`DistributionContext/DistributionTransktionsID`, `DigitalPostMeddelelsesID`",
        "`AdditionalContentData/contentDataName` and `contentDataValue`; `MessageHeader/label`, `postType`",
    ),
}  # fmt: skip
"""What each field is called elsewhere."""

_HEAD: Final = """\
One metadata model for notification, handover and file exchange, and for every protocol: the same words where the same is meant.
A gateway maps its header to these fields and back, and nothing else is routed on. The JSON Schema is
[payload-description.json](schemas/payload-description.json); `stafet schema payload-description` prints it.

The columns *CloudEvents* and *AS4* are what the gateways here do. The others say where the same information stands in formats
that are in use today, for whoever maps one of them: KOMBIT's file exchange (`Trigger`, `FileMetadata`), the event message of
Beskedfordeler (`urn:oio:besked:kuvert:1.0`), the distribution service SF2900 version 3, and MeMo 1.1 and 1.2."""


def page(made: str) -> str:
    """The whole page. Raises `DocsError` when rows and fields differ."""
    fields = Description.model_fields
    if differing := sorted(set(fields) ^ set(ROWS)):
        raise DocsError(f"scripts/payload_description.py and core.description differ in {', '.join(differing)}")
    docs, required = attribute_docs(Description), set(published(PAYLOAD, Description)["required"])
    lines = [
        "# The payload description",
        "",
        made,
        "",
        _HEAD,
        "",
        "## Fields",
        "",
        "| Field | Meaning |",
        "| --- | --- |",
    ]
    lines += [f"| `{name}`{' (required)' if name in required else ''} | {docs[name]} |" for name in fields]
    lines += ["", "## What they are called elsewhere", ""]
    lines += [f"| Field | {' | '.join(HEADS)} |", "| --- |" + " --- |" * len(HEADS)]
    lines += [f"| `{name}` | {' | '.join(ROWS[name])} |" for name in fields]
    return "\n".join(lines) + "\n"
