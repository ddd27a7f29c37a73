"""Profiles as reviewed values: what we send under them, and what we accept [eD1.15 §1.4.5].

A profile is algorithms, and what a community agrees on beside them (`Demands`).

Rules:

1. A profile is data used in both directions; nobody edits it per partner. What an agreement adds is named in the partner's
   file and widens *acceptance* only: we always send the profile's own algorithms.
2. Some algorithms are refused whatever an agreement says (`FORBIDDEN`).
3. What is not listed is refused.
4. Demands hold in both directions: what breaks one is neither sent nor taken (`accesspoint.pmode`, `accesspoint.sbdh`). What a
   community says nothing about is not demanded; where it says a value without saying how strictly, it is the only one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from accesspoint import limits, names


@dataclass(frozen=True, slots=True)
class Demands:
    """What a profile demands beyond algorithms. Whatever is empty or False is not demanded; ``*_form`` is a regular expression
    that the whole value must match."""

    party_type: str = ""
    """``PartyId/@type`` of both sides."""
    party_form: str = ""
    party_is_subject: bool = False
    """A PartyId is the common name of the certificates that belong to it."""
    role_form: str = ""
    agreement: str = ""
    """The one value of ``AgreementRef``, without a type."""
    agreement_named: bool = False
    """Every message says its agreement."""
    service_type: str = ""
    service_form: str = ""
    action_form: str = ""
    conversation_empty: bool = False
    push_only: bool = False
    """Nothing is pulled."""
    tokens: bool = False
    """Certificates come along as BinarySecurityToken X509v3, for signing and for encryption."""
    corner_type: str = ""
    """``@type`` of originalSender and finalRecipient."""
    corner_form: str = ""
    served: bool = False
    """What arrives for a finalRecipient that is not ours to serve is refused, in Peppol's words."""
    one_payload: bool = False
    envelope: Literal["", "header", "document"] = ""
    """The first payload begins with a business document header: one alone or within its document ("header"), or only within its
    document, which refers to no other payload ("document")."""
    compressed: bool = False
    media_types: tuple[str, ...] = ()
    """Of every payload, before compression."""
    part_properties: tuple[str, ...] = ()
    """That the community has for payloads: carried from producer to consumer, demanded of nobody."""
    payload_size: int = 0
    """Octets of one payload before compression, at most."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A reviewed set of rules. The first algorithm of each tuple is the one we send."""

    name: str
    signatures: tuple[str, ...]
    digests: tuple[str, ...]
    encryptions: tuple[str, ...]
    key_transports: tuple[str, ...]
    oaep_digests: tuple[str, ...] = ()
    mask_functions: tuple[str, ...] = ()
    key_agreements: tuple[str, ...] = ()
    """Where there are any, the key transport is a key wrap under the agreed key, and there is no other."""
    demand_signature: bool = True
    demand_encryption: bool = True
    four_corner: bool = False
    rsa_bits: int = limits.RSA_BITS
    demands: Demands = Demands()

    def accepting(self, algorithms: Iterable[str]) -> Profile:
        """This profile, also accepting what an agreement names. Raises `ValueError` for what is never accepted."""
        result = self
        for algorithm in algorithms:
            if algorithm in FORBIDDEN:
                raise ValueError(f"{algorithm} is never accepted")
            field = _KINDS.get(algorithm)
            if field is None:
                raise ValueError(f"{algorithm} is not an algorithm this program knows; known: {', '.join(ALGORITHMS)}")
            if self.key_agreements and field in ("key_transports", "mask_functions"):
                raise ValueError(f"{algorithm} has no place in {self.name}, where the content key is agreed")
            accepted: tuple[str, ...] = getattr(result, field)
            widened: dict[str, Any] = {field: tuple(dict.fromkeys((*accepted, algorithm)))}
            result = replace(result, **widened)
        return result


FORBIDDEN: Final = frozenset(
    {names.RSA_SHA1, names.RSA_1_5, names.XENC + "aes128-cbc", names.XENC + "aes256-cbc", names.XENC + "tripledes-cbc"}
)
"""Never accepted: broken, or with a padding oracle."""

_KINDS: Final = {
    **dict.fromkeys((names.RSA_SHA256, names.RSA_SHA384, names.RSA_SHA512, names.RSA_PSS_SHA256), "signatures"),
    **dict.fromkeys((names.ECDSA_SHA256, names.ED25519), "signatures"),
    **dict.fromkeys((names.SHA256, names.SHA384, names.SHA512), "digests"),
    **dict.fromkeys((names.AES128_GCM, names.AES256_GCM), "encryptions"),
    **dict.fromkeys((names.RSA_OAEP, names.RSA_OAEP_MGF1P), "key_transports"),
    **dict.fromkeys((names.MGF1_SHA1, names.MGF1_SHA256), "mask_functions"),
}

ALGORITHMS: Final = {uri.rpartition("#")[2]: uri for uri in _KINDS}
"""What an agreement may add to a profile, by the short name that people write."""

EDELIVERY_1_15: Final = Profile(
    "edelivery-1.15",
    signatures=(names.RSA_SHA256,),
    digests=(names.SHA256,),
    encryptions=(names.AES128_GCM,),
    key_transports=(names.RSA_OAEP,),
    oaep_digests=(names.SHA256,),
    mask_functions=(names.MGF1_SHA256,),
)
"""eDelivery AS4 1.15 Common Profile."""

EDELIVERY_1_15_FOUR_CORNER: Final = replace(EDELIVERY_1_15, name="edelivery-1.15-four-corner", four_corner=True)
"""The same, with originalSender and finalRecipient demanded [eD1.15 §1.5.1]."""

EDELIVERY_2_0: Final = Profile(
    "edelivery-2.0",
    signatures=(names.ED25519,),
    digests=(names.SHA256,),
    encryptions=(names.AES128_GCM,),
    key_transports=(names.KW_AES128,),
    key_agreements=(names.X25519,),
)
"""eDelivery AS4 2.0 Common Usage Profile: Ed25519; X25519 with HKDF and AES key wrap."""

EDELIVERY_2_0_EC: Final = replace(
    EDELIVERY_2_0, name="edelivery-2.0-ec", signatures=(names.ECDSA_SHA256,), key_agreements=(names.ECDH_ES,)
)
"""Its alternative elliptic curve enhancement: ECDSA and ECDH-ES."""

_ROLES: Final = "|".join(re.escape(role) for role in (names.INITIATOR, names.RESPONDER))

EDELIVERY_1_15_SBDH: Final = replace(
    EDELIVERY_1_15_FOUR_CORNER, name="edelivery-1.15-sbdh", demands=Demands(envelope="header")
)
"""Four corners, with the SBDH profile enhancement [eD1.15 §1.5.2].

The first payload is a business document header, or a document that begins with one; Sender and Receiver are originalSender and
finalRecipient, and every further payload is in the Manifest. The specification lets the consumer compare the values; here that is
done by the access point, in both directions. It does not say that the corners are there without their own enhancement: they are
demanded, since there is nothing else to compare.
"""

PEPPOL: Final = replace(
    EDELIVERY_1_15_FOUR_CORNER,
    name="peppol",
    demands=Demands(
        party_type=names.PEPPOL_PARTY,
        party_is_subject=True,
        role_form=_ROLES,
        agreement=names.PEPPOL_AGREEMENT,
        agreement_named=True,
        service_type=names.PEPPOL_PROCESSES,
        action_form=".+::.+",
        push_only=True,
        tokens=True,
        corner_type=names.PARTICIPANTS,
        served=True,
        one_payload=True,
        envelope="document",
        compressed=True,
        media_types=("application/xml",),
    ),
)
"""Peppol AS4 2.0 [Peppol AS4 profile 2.0.x].

Four corners with participants of ``iso6523-actorid-upis``; parties are access points by the common name of their certificates;
one payload, a StandardBusinessDocument of type application/xml, compressed. eDelivery has a receiver take what a sender left
uncompressed [eD1.15 §1.4.3.1]; Peppol's own words are one compressed payload, and the stricter is held here.
"""

_ENTSOG: Final = Demands(
    party_type=names.EIC_PARTY,
    party_form=r"[0-9]{2}[A-Z][A-Z0-9-]{12}[A-Z0-9]",
    role_form=f"{_ROLES}|[A-Z]{{2,3}}",
    agreement_named=True,
    service_type=names.EDIGAS_SERVICE,
    service_form="A0[1-9]|A1[01]",
    action_form=re.escape(names.AS4_ACTION),
    conversation_empty=True,
    push_only=True,
    one_payload=True,
    part_properties=(names.EDIGAS_DOCUMENT_TYPE,),
    payload_size=10_000_000,
)
ENTSOG_3: Final = replace(EDELIVERY_1_15, name="entsog-3", demands=_ENTSOG)
"""ENTSOG AS4 3.x, the gas network's: EIC party codes, Edigas services, one XML payload, an empty ConversationId, the default MPC.

EDIGASDocumentType and an XML media type are preferred by its test assertions, and products leave them out: the one is carried,
neither is demanded. Ten megabytes are read as 10,000,000 octets, the smaller of the two that the words can mean.
"""

ENTSOG_4: Final = replace(EDELIVERY_2_0, name="entsog-4", demands=_ENTSOG)
"""ENTSOG AS4 4.0: the same over the algorithms of eDelivery AS4 2.0."""

ENTSOG_4_EC: Final = replace(EDELIVERY_2_0_EC, name="entsog-4-ec", demands=_ENTSOG)
"""ENTSOG AS4 4.0 with elliptic curves."""

EHMI: Final = replace(
    EDELIVERY_1_15_SBDH,
    name="ehmi",
    demands=Demands(
        corner_type=names.PARTICIPANTS, corner_form="0088:[0-9]{13}", one_payload=True, envelope="document"
    ),
)
"""The Danish health network EHMI, on eDelivery AS4 1.15 with four corners and the SBDH enhancement [ehmiSBDH 2.0.1].

Participants are GLNs under ``iso6523-actorid-upis``; one payload, the ehmiSBDH document, which has no Manifest. EHMI publishes no
service, action, agreement, role or MPC: a partner's file says them, and nothing about them is demanded. Neither does it say more
than 1.15 about compression and key references. Check digits of GLNs and what is inside the scopes are the MSH's: they are not
looked at here.
"""

PROFILES: Final = {
    p.name: p
    for p in (
        EDELIVERY_1_15,
        EDELIVERY_1_15_FOUR_CORNER,
        EDELIVERY_1_15_SBDH,
        EDELIVERY_2_0,
        EDELIVERY_2_0_EC,
        PEPPOL,
        ENTSOG_3,
        ENTSOG_4,
        ENTSOG_4_EC,
        EHMI,
    )
}
"""All profiles by name."""
