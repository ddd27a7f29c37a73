"""What can be wrong between documents, and what the codes mean to a newcomer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cryptography import x509

from accesspoint.errors import CATALOGUE, EbmsError
from accesspoint.names import RSA_OAEP
from accesspoint.profiles import Profile
from accesspoint.pull import serves
from accesspoint.wss import check_strength, methods_of
from accesspoint.xmlenc import way_to
from core.clock import DAY
from core.config import Configuration, Problem, certificates_in
from core.revocation import issuer_of, list_urls, responder_urls
from core.trust import common_name, lists_in
from gateways.as4.demands import contradictions, party_id, serves_nobody
from gateways.as4.partners import agreed_profile, plan_of
from gateways.as4.settings import Channel, Partner, PartyIdentifier, demand_type

_REMEDIES: Final = {
    "EBMS:0001": "compare Service, Action and AgreementRef of both partners' files, type included",
    "EBMS:0003": "compare the field named in the reason with the agreement; roles and types count",
    "EBMS:0004": "read the reason: the receiver took the message apart but could not keep it",
    "EBMS:0007": "look at the MIME boundary and that the message was not cut on the way; a proxy may have changed it",
    "EBMS:0008": "the sender uses a part of the protocol that is not supported here; the reason names it",
    "EBMS:0009": "the header breaks the schema at the field named; check it with the sender's vendor",
    "EBMS:0010": "no partner file fits the PartyIds and roles; compare party_id (value and type) on both sides",
    "EBMS:0011": "every PartInfo needs a MIME part with its Content-ID",
    "EBMS:0101": "compare the certificate the sender signs with now with signing_certificates or anchors in the partner's file,"
    " its dates, and both machines' clocks",
    "EBMS:0102": "the sender encrypted for another certificate: give them the one that belongs to decryption_keys,"
    " and keep the old key there while you change over",
    "EBMS:0103": "sign header, body and every attachment, encrypt every attachment, with the profile's algorithms;"
    " the reason names what is missing",
    "EBMS:0202": "the receiver could not complete the delivery; ask its operator, then `stafet resend`",
    "EBMS:0301": "no receipt came: check the partner's url, and that they answer receipts on the same connection",
    "EBMS:0302": "the receipt does not match what was sent: their receipt must repeat every digest and be signed"
    " with the agreed certificate",
    "EBMS:0303": "the attachment says it is gzip but does not unpack; check the sender's compression",
    "EBMS:4001": "they have had this message before, and do not repeat their receipt: ask their operator whether it arrived"
    " before you resend it",
    "SOAP Received": "they answered with a SOAP fault and no ebMS error: their server failed before it read the message; the"
    " reason is theirs",
    "SOAP VersionMismatch": "AS4 is SOAP 1.2; the sender used another version, or this is no AS4 endpoint",
    "SOAP MustUnderstand": "the sender demands an extension that is not supported here; the reason names its header entry",
    "connect": "nothing listens at the partner's url, or a firewall is between. What to do: compare url and port",
    "tls": "the TLS certificate is not trusted. What to do: compare tls.anchors with the issuer of the server's certificate,"
    " and the host name",
    "timeout": "they took the connection but did not answer in time. What to do: ask their operator",
    "closed": "they closed the connection before answering. What to do: ask their operator; their log says why",
    "answer": "what they answered is far longer than a receipt. What to do: check that the partner's url is their AS4 endpoint",
    "send": "the connection broke while sending; it is tried again",
    "no-partner": "the route leads to a partner that is not there. What to do: add an as4.partner document of that id,"
    " or correct the route's destination",
    "no-exchange": "the partner's file does not say how this is sent. What to do: add an exchange with direction send or"
    " both for this integration",
    "revocation": "whether certificates are revoked could not be asked, and what was said before ends soon or has ended: then"
    " messages signed with them are refused. What to do: see that this node reaches the address named, and that"
    " revocation_hosts in node.yaml names it",
    "unknown-message": "a receipt or an error is about a message that was not sent from here, or about a ping whose receipt is"
    " called back. What to do: nothing for a ping; else ask who sent it which message they mean",
    "cannot-be-sent": "the header cannot hold what the parcel says. What to do: correct the field that the reason names,"
    " and send anew",
}


def explain(code: str) -> str:
    """What a code means and what to change, or "" for one that is not this gateway's."""
    row = CATALOGUE.get(code)
    remedy = _REMEDIES.get(code, "")
    if row is None:
        return remedy
    return f"{row.short_description}: {row.meaning}" + (f". What to do: {remedy}" if remedy else "")


def check(configuration: Configuration) -> Iterable[Problem]:
    """That partners name parties, systems, integrations and certificates that are there and fit."""
    for partner in configuration.all("as4.partner").values():
        yield from _references(configuration, partner)
        yield from _demands(configuration, partner)
        yield from _certificates(configuration, partner)
        yield from _revocation(configuration, partner)
        yield from _window(partner)
    known = ", ".join(sorted(configuration.all("as4.partner"))) or "there are none"
    for route in configuration.all("route").values():
        for index, target in enumerate(route.to):
            if target.gateway == "as4" and target.destination not in configuration.all("as4.partner"):
                cause = f"no as4.partner is called {target.destination!r}"
                yield Problem("route", route.id, f"to.{index}.destination", cause, f"known: {known}")
    yield from _ambiguous(configuration)
    yield from _channels(configuration)


def _references(configuration: Configuration, partner: Partner) -> Iterable[Problem]:
    named = [("party", "as4.party", partner.party), ("system", "system", partner.system)]
    named += [(f"exchanges.{i}.integration", "integration", e.integration) for i, e in enumerate(partner.exchanges)]
    for where, kind, name in named:
        if name not in configuration.all(kind):
            known = ", ".join(sorted(configuration.all(kind))) or "there are none"
            yield Problem("as4.partner", partner.id, where, f"no {kind} is called {name!r}", f"known: {known}")
    party = configuration.all("as4.party").get(partner.party)
    if party is not None and not partner.untyped_names:
        try:
            demand_type(party.party_id)
        except ValueError as error:
            yield Problem("as4.partner", partner.id, "party", f"party_id of as4.party {party.id}: {error}")
    for index, exchange in enumerate(partner.exchanges):
        integration = configuration.all("integration").get(exchange.integration)
        if integration and exchange.type and exchange.type not in integration.types:
            where = f"exchanges.{index}.type"
            yield Problem("as4.partner", partner.id, where, f"{exchange.type!r} is no type of {exchange.integration}")


def _demands(configuration: Configuration, partner: Partner) -> Iterable[Problem]:
    """That nothing is said against the profile, by this document or by the party's."""
    for found in contradictions(partner):
        yield Problem("as4.partner", partner.id, *found)
    party = configuration.all("as4.party").get(partner.party)
    if party is None:
        return  # named already
    for field, cause, remedy in party_id(partner.profile, "party_id", party.party_id):
        yield Problem("as4.partner", partner.id, "party", f"{field} of as4.party {party.id} {cause}", remedy)
    if serves_nobody(partner, party):
        cause = f"names nobody in serves, and {partner.profile} has everything refused that comes for others"
        yield Problem("as4.partner", partner.id, "party", f"as4.party {party.id} {cause}", "list whom you receive for")


def _certificates(configuration: Configuration, partner: Partner) -> Iterable[Problem]:
    profile = agreed_profile(partner)
    fields = [("encryption_certificate", partner.encryption_certificate)]
    fields += [(f"signing_certificates.{i}", n) for i, n in enumerate(partner.signing_certificates)]
    fields += [(f"anchors.{i}", n) for i, n in enumerate(partner.anchors)]
    fields += [(f"issuers.{i}", n) for i, n in enumerate(partner.issuers)]
    fields += [("tls.anchors", partner.tls.anchors)] if partner.tls.anchors else []
    for where, name in fields:
        try:
            certificate = certificates_in(configuration.files, name)[0]
            certificate.public_key()
        except ValueError as error:
            yield Problem("as4.partner", partner.id, where, str(error), "put the PEM file beside the documents")
            continue
        try:
            check_strength(certificate, profile)
        except EbmsError as error:
            yield Problem("as4.partner", partner.id, where, error.cause)
        theirs = where.startswith(("encryption_certificate", "signing_certificates"))
        if theirs and profile.demands.party_is_subject and common_name(certificate) != partner.party_id.value:
            cause = f"is of {common_name(certificate)!r}; {partner.profile} demands that party_id is its common name"
            yield Problem("as4.partner", partner.id, where, cause, "compare it with party_id")
        unfit = _unfit(where, certificate, profile)
        if unfit:
            yield Problem("as4.partner", partner.id, where, f"{unfit}, which {partner.profile} demands")
    for index, name in enumerate(partner.revocation_lists):
        try:
            lists_in(configuration.files[name])
        except (KeyError, ValueError):
            where = f"revocation_lists.{index}"
            yield Problem("as4.partner", partner.id, where, f"{name!r} is no revocation list that can be read")


def _revocation(configuration: Configuration, partner: Partner) -> Iterable[Problem]:
    """That somebody can say of every pinned certificate whether it is revoked."""
    if partner.asks == "none":
        return
    try:
        issuers = [c for name in partner.issuers for c in certificates_in(configuration.files, name)]
        pinned = [certificates_in(configuration.files, name)[0] for name in partner.signing_certificates]
    except ValueError:
        return  # named already
    for index, certificate in enumerate(pinned):
        where = f"signing_certificates.{index}"
        if issuer_of(certificate, issuers) is None:
            cause = "was issued by none of issuers: nobody could say whether it is revoked"
            yield Problem("as4.partner", partner.id, where, cause, "add its issuer, or say revocation: none")
        elif partner.asks == "fetch" and not (
            partner.revocation_urls or list_urls(certificate) or responder_urls(certificate)
        ):
            cause = "names no list and no responder: nothing could be fetched"
            yield Problem("as4.partner", partner.id, where, cause, "give revocation_urls, or lists as files")


def _window(partner: Partner) -> Iterable[Problem]:
    """A message that is repeated after it was forgotten would be delivered twice; both sides are held to the same plan."""
    plan = plan_of(partner)
    span = plan.times(0)[-1] + plan.wait(plan.attempts)
    days = -(-span * 11 // (10 * DAY))  # waits are displaced by up to a tenth
    if partner.duplicate_window < days:
        cause = f"is {partner.duplicate_window}, shorter than the {days} days that the retry plan takes"
        yield Problem(
            "as4.partner", partner.id, "duplicate_window", cause, f"say at least {days}, or retry for less long"
        )


def _unfit(where: str, certificate: x509.Certificate, profile: Profile) -> str:
    """Why a certificate's key is of no use under the profile, or ""."""
    if where == "encryption_certificate":
        ways = profile.key_agreements or (RSA_OAEP,)
        return "" if way_to(certificate) in ways else f"has no key for {ways[0].rpartition('#')[2]}"
    if where.startswith("signing_certificates"):
        wanted = profile.signatures
        return "" if set(methods_of(certificate)) & set(wanted) else f"has no key for {wanted[0].rpartition('#')[2]}"
    return ""


def _ambiguous(configuration: Configuration) -> Iterable[Problem]:
    """Two partners with the same PartyId for one of our PartyIds would be told apart by chance."""
    seen: dict[tuple[object, PartyIdentifier], str] = {}
    for partner in configuration.all("as4.partner").values():
        party = configuration.all("as4.party").get(partner.party)
        name = (party.party_id if party is not None else partner.party, partner.party_id)
        if name in seen:
            cause = f"is the same as that of as4.partner {seen[name]}"
            yield Problem("as4.partner", partner.id, "party_id", cause, "put both exchanges into one partner")
        seen[name] = partner.id


def _channels(configuration: Configuration) -> Iterable[Problem]:
    """A channel, and what waits to be pulled, is one partner's: another could take what is not theirs."""
    channels: list[tuple[Channel, str]] = []
    waiting: dict[tuple[str, str], str] = {}
    for partner in configuration.all("as4.partner").values():
        for index, exchange in enumerate(partner.exchanges):
            mine = exchange.pull
            if mine is None or exchange.direction != "send":
                continue
            where = f"exchanges.{index}.pull"
            others = [name for channel, name in channels if name != partner.id and _overlap(channel, mine)]
            if others:
                cause = f"{mine.mpc!r} is a channel of as4.partner {others[0]} too"
                yield Problem(
                    "as4.partner", partner.id, f"{where}.mpc", cause, "give each partner a channel of its own"
                )
            first = waiting.setdefault((partner.system, exchange.integration), partner.id)
            if first != partner.id:
                cause = f"as4.partner {first} pulls {exchange.integration} for {partner.system} too"
                yield Problem("as4.partner", partner.id, where, cause, "have one of them pull")
            channels.append((mine, partner.id))


def _overlap(one: Channel, other: Channel) -> bool:
    return serves(one.mpc, other.mpc, sub_channels=one.sub_channels) or serves(
        other.mpc, one.mpc, sub_channels=other.sub_channels
    )
