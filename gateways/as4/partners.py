"""Partners as the protocol needs them: P-Modes, trust and keys, made once from a configuration version.

Rules:

1. Built whole or not at all: a configuration whose certificate or key cannot be read leaves the one before in force.
2. A certificate is believed for one partner, never for all: pinned in the partner's file, or under its own anchors.
3. A certificate that was found good is remembered for a minute; an expiry or a revocation is seen at most that late.
4. What lists and responders say about a certificate is asked of memory (a `Shelf`), never of the network.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from cryptography import x509

from accesspoint import ebms, names
from accesspoint.client import client_context
from accesspoint.errors import FAILED_AUTHENTICATION, MISSING_RECEIPT, EbmsError
from accesspoint.pmode import PMode
from accesspoint.profiles import ALGORITHMS, PROFILES, Profile
from accesspoint.pull import serves
from accesspoint.tokens import KeyReference, candidates
from accesspoint.wss import SigningKey, methods_of, sign
from accesspoint.wss import Trust as BelievedFor
from accesspoint.xmlenc import DecryptionKey, way_to
from core.clock import HOUR, MINUTE, SECOND, Clock, Micros
from core.config import Configuration, certificates_in
from core.delivery import Delivery
from core.errors import ConfigError
from core.pace import Pace
from core.revocation import Evidence, Window, issuer_of, list_urls
from core.schedule import RetryPlan
from core.trust import Identity, Trust, Untrusted, check_dates, check_usage, common_name, lists_in
from gateways.as4.questions import Known
from gateways.as4.settings import Exchange, Partner, Party, PartyIdentifier, ServiceName


def typed(value: PartyIdentifier | ServiceName) -> ebms.Typed:
    """A configured value with its type, as the header says it."""
    return ebms.Typed(value.value, value.type)


def signer(identity: Identity) -> Callable[[bytes], bytes]:
    """One of our keys: canonical SignedInfo in, signature value out."""
    key = cast(SigningKey, identity.key)
    return lambda octets: sign(key, octets)


@dataclass
class Neighbour:
    """One partner, ready to be spoken with. ``by_pmode`` leads from a P-Mode to the exchange it was made from.

    ``trust`` judges chains under anchors; ``above`` says, where that is asked, whether a ``pinned`` certificate is revoked.
    """

    partner: Partner
    party: Party
    signing: Identity
    decryption: tuple[Identity, ...]
    trust: Trust | None
    above: Trust | None
    pinned: tuple[x509.Certificate, ...]
    pmodes: tuple[PMode, ...]
    by_pmode: Mapping[str, Exchange]
    tls: ssl.SSLContext | None
    retry: RetryPlan
    _good: dict[x509.Certificate, Micros] = field(default_factory=dict)

    @property
    def profile(self) -> Profile:
        """The profile agreed with this partner."""
        return PROFILES[self.partner.profile]

    def pmode_for(self, integration: str) -> PMode | None:
        """The P-Mode to send a parcel of this integration with."""
        mine = (p for p in self.pmodes if p.may_send and not p.pulled and p.integration == integration)
        return next(mine, None)

    def ping_pmode(self) -> PMode | None:
        """The P-Mode to ping under: parties and security of any exchange that pushes to them."""
        return next((p for p in self.pmodes if p.may_send and not p.pulled), None)

    def pulled_pmode(self, integration: str) -> PMode | None:
        """The P-Mode under which they pull a parcel of this integration from us."""
        mine = (p for p in self.pmodes if p.may_send and p.pulled and p.integration == integration)
        return next(mine, None)

    def believe(self, reference: KeyReference, at: Micros) -> Sequence[x509.Certificate]:
        """The certificates that this partner may sign with now and that ``reference`` means. Raises 0101 with the reason."""
        if self.trust is not None:
            if not reference.chain:
                raise _no("the certificate is only referred to; this partner must send it along", "send a token")
            self._check_chain(self.trust, reference.chain, at)
            return (reference.chain[0],)
        found = candidates(reference, self.pinned)
        if not found:
            theirs = common_name(reference.chain[0]) if reference.chain else "another certificate"
            wanted = ", ".join(common_name(c) for c in self.pinned)
            raise _no(
                f"signed with the certificate of {theirs!r}, agreed is {wanted!r}",
                "compare the partner's signing_certificates with what they sign with now",
            )
        good, refusal = [], None
        for certificate in found:
            try:
                check_dates(certificate, at)
                check_usage(certificate)
                self._check_above(certificate, at)
                good.append(certificate)
            except Untrusted as error:  # a renewed certificate over the same key may stand beside it
                refusal = error
        if refusal is not None and not good:
            raise _no(refusal.cause, refusal.remedy)
        return good

    def _check_chain(self, trust: Trust, chain: Sequence[x509.Certificate], at: Micros) -> None:
        if not self._found_good(chain[0], at):
            try:
                trust.check_chain(chain, at)
            except Untrusted as error:
                raise _no(error.cause, error.remedy) from None
            self._remember(chain[0], at)

    def _check_above(self, certificate: x509.Certificate, at: Micros) -> None:
        if self.above is not None and not self._found_good(certificate, at):
            self.above.check_revocation(self.above.above(certificate), at)
            self._remember(certificate, at)

    def _found_good(self, certificate: x509.Certificate, at: Micros) -> bool:
        return at - self._good.get(certificate, 0) < MINUTE

    def _remember(self, certificate: x509.Certificate, at: Micros) -> None:
        if len(self._good) > 1000:
            self._good.clear()
        self._good[certificate] = at


def _no(cause: str, remedy: str) -> EbmsError:
    return EbmsError(FAILED_AUTHENTICATION, field="certificate", cause=cause, remedy=remedy)


class Partners:
    """All neighbours of a configuration version; what the receiver asks (`accesspoint.inbound.Agreements`)."""

    def __init__(self, neighbours: Sequence[Neighbour], clock: Clock) -> None:
        self._clock = clock
        self.by_id = {n.partner.id: n for n in neighbours}
        self._pmodes = tuple(p for n in neighbours for p in n.pmodes)

    def pmodes(self) -> Sequence[PMode]:
        """All P-Modes."""
        return self._pmodes

    def of(self, pmode: PMode) -> Neighbour:
        """The neighbour a P-Mode belongs to."""
        return self.by_id[pmode.partner]

    def trust(self, pmode: PMode) -> BelievedFor:
        """Which certificates are believed for this partner now."""
        neighbour, at = self.of(pmode), self._clock.now()
        return lambda reference: neighbour.believe(reference, at)

    def known(self) -> Iterator[Known]:
        """What is to be fetched before the first message: about pinned certificates, and lists of the authorities agreed on."""
        for neighbour in self.by_id.values():
            believed = neighbour.trust or neighbour.above
            if believed is None or neighbour.partner.asks != "fetch":
                continue
            authorities = (*believed.anchors, *believed.issuers)
            encryption = neighbour.pmodes[0].their_encryption_certificate
            same = encryption is not None and issuer_of(encryption, authorities) is not None
            urls = (*neighbour.partner.revocation_urls, *(list_urls(encryption) if encryption and same else ()))
            yield Known((), authorities, believed.window, urls)
            for certificate in (*neighbour.pinned, *believed.issuers):
                yield Known(believed.above(certificate), authorities, believed.window)

    def decryption_keys(self, pmode: PMode) -> Sequence[tuple[x509.Certificate, DecryptionKey]]:
        """Our certificates and keys that this partner may encrypt for."""
        return [(i.certificate, cast(DecryptionKey, i.key)) for i in self.of(pmode).decryption]

    def channel(self, asked: str) -> tuple[Neighbour, tuple[PMode, ...]] | None:
        """Who may pull from a channel of ours, and under which P-Modes."""
        for neighbour in self.by_id.values():
            found = tuple(p for p in neighbour.pmodes if p.may_send and p.pulled and _serves(neighbour, p, asked))
            if found:
                return neighbour, found
        return None

    def sent_under(self, delivery: Delivery, integration: str) -> tuple[Neighbour, PMode] | None:
        """The partner that a delivery went or goes to, and the P-Mode that its evidence is judged by.

        Where the exchange has been taken out since, that is any P-Mode of theirs: evidence stays evidence.
        """
        others = []
        for neighbour in self.by_id.values():
            if delivery.gateway and neighbour.partner.id == delivery.destination:
                pmode = neighbour.pmode_for(integration)
            elif not delivery.gateway and neighbour.partner.system == delivery.receiver:
                pmode = neighbour.pulled_pmode(integration)
            else:
                continue
            if pmode is not None:
                return neighbour, pmode
            others.append((neighbour, neighbour.pmodes[0]))
        return others[0] if others else None

    def signing_for(self, party_id: ebms.Typed | None) -> Neighbour | None:
        """Somebody to sign an error as, when no P-Mode was found: whoever of us the message was addressed to."""
        wanted = (n for n in self.by_id.values() if party_id is not None and typed(n.party.party_id) == party_id)
        return next(wanted, None)


def _serves(neighbour: Neighbour, pmode: PMode, asked: str) -> bool:
    channel = neighbour.by_pmode[pmode.id].pull
    return channel is not None and serves(channel.mpc, asked, sub_channels=channel.sub_channels)


Shelf = Callable[[Sequence[x509.Certificate], Window], Evidence]
"""What lists and responders have said about a path; whoever gives it keeps it fresh from then on."""


def nothing_known(_path: Sequence[x509.Certificate], _window: Window) -> Evidence:
    """Nobody asks."""
    return Evidence()


def build(
    configuration: Configuration, identity: Callable[[str], Identity], clock: Clock, shelf: Shelf = nothing_known
) -> Partners:
    """Make all partners. Raises `ConfigError` or `Fatal` naming the first document that cannot be used."""
    parties = configuration.all("as4.party")
    found = configuration.all("as4.partner").values()
    return Partners([_neighbour(p, parties[p.party], configuration, identity, shelf) for p in found], clock)


def _neighbour(
    partner: Partner,
    party: Party,
    configuration: Configuration,
    identity: Callable[[str], Identity],
    shelf: Shelf,
) -> Neighbour:
    try:
        encryption = certificates_in(configuration.files, partner.encryption_certificate)[0]
        pinned = tuple(certificates_in(configuration.files, n)[0] for n in partner.signing_certificates)
        anchors = tuple(c for n in partner.anchors for c in certificates_in(configuration.files, n))
        issuers = tuple(c for n in partner.issuers for c in certificates_in(configuration.files, n))
        lists = tuple(item for n in partner.revocation_lists for item in lists_in(configuration.files[n]))
    except (ValueError, KeyError) as error:
        raise ConfigError(f"as4.partner {partner.id}", "certificates", str(error)) from None
    signing, decryption = identity(party.signing_key), tuple(identity(name) for name in party.decryption_keys)
    _check_own_keys(partner, party, signing, decryption)
    window = Window(int(partner.revocation_window * HOUR), int(partner.revocation_grace * HOUR))
    believed = Trust(
        anchors or issuers,
        lists,
        partner.signing_subject or "",
        partner.signing_organisation or "",
        partner.certificate_policies,
        issuers,
        (lambda path: shelf(path, window)) if partner.asks == "fetch" else None,
        window,
    )
    made = {
        pmode.id: (pmode, exchange)
        for index, exchange in enumerate(partner.exchanges)
        for pmode in _pmodes(partner, party, f"{partner.id}/{index}", exchange, encryption, pinned)
    }
    return Neighbour(
        partner,
        party,
        signing,
        decryption,
        believed if anchors else None,
        believed if pinned and partner.asks != "none" else None,
        pinned,
        tuple(pmode for pmode, _ in made.values()),
        {name: exchange for name, (_, exchange) in made.items()},
        _tls(partner, configuration, identity),
        plan_of(partner),
    )


def _check_own_keys(partner: Partner, party: Party, signing: Identity, decryption: Sequence[Identity]) -> None:
    """Raises `ConfigError` when our own keys are not of the kind that the partner's profile demands."""
    profile = PROFILES[partner.profile]
    ways = profile.key_agreements or (names.RSA_OAEP,)
    wanted = (
        ("signing_key", profile.signatures, methods_of(signing.certificate)),
        ("decryption_keys", ways, [way_to(i.certificate) for i in decryption]),
    )
    for field_, allowed, found in wanted:
        if not set(allowed) & set(found):
            short = allowed[0].rpartition("#")[2]
            cause = f"no key for {short}, which {partner.profile} of as4.partner {partner.id} demands"
            remedy = "let another as4.party, with keys of that kind, speak with this partner"
            raise ConfigError(f"as4.party {party.id}", field_, cause, remedy)


def plan_of(partner: Partner) -> RetryPlan:
    """The partner's retry plan in the kernel's units."""
    retry = partner.retry
    return RetryPlan(retry.attempts, int(retry.first_wait * SECOND), int(retry.longest_wait * SECOND))


def scope_of(partner: str) -> str:
    """Under which scope the kernel remembers a partner's messages."""
    return f"as4:{partner}"


def pace_of(configuration: Configuration, destination: str, integration: str) -> Pace:
    """What a partner's file says of pace and order; for a partner that is not there, what the kernel does by itself."""
    partner: Partner | None = configuration.all("as4.partner").get(destination)
    if partner is None:
        return Pace(no_receipt=MISSING_RECEIPT.code)
    sending = (e for e in partner.exchanges if e.integration == integration and _pushes(e))
    exchange = next(sending, None)
    return Pace(
        partner.at_once,
        partner.pause_after,
        partner.waiting,
        exchange is not None and exchange.ordered,
        exchange is not None and exchange.on_failure == "stop",
        MISSING_RECEIPT.code,
    )


def _pushes(exchange: Exchange) -> bool:
    return exchange.pull is None and exchange.direction != "receive"


def _pmodes(
    partner: Partner,
    party: Party,
    name: str,
    exchange: Exchange,
    encryption: x509.Certificate,
    pinned: tuple[x509.Certificate, ...],
) -> Iterator[PMode]:
    """One P-Mode for each direction: whoever begins is the initiator, unless the agreement names business roles.

    The sender begins when messages are pushed, the receiver when they are pulled.
    """
    behind = (partner.four_corner.original_sender,) if partner.four_corner else ()
    for sending in (True, False):
        if exchange.direction not in ("send" if sending else "receive", "both"):
            continue
        begins = sending == (exchange.pull is None)
        our_role = partner.our_role or (names.INITIATOR if begins else names.RESPONDER)
        their_role = partner.their_role or (names.RESPONDER if begins else names.INITIATOR)
        yield PMode(
            id=f"{name}/{'send' if sending else 'receive'}",
            partner=partner.id,
            profile=agreed_profile(partner),
            us=ebms.Party(typed(party.party_id), our_role),
            them=ebms.Party(typed(partner.party_id), their_role),
            service=typed(exchange.service),
            action=exchange.action,
            agreement=ebms.Typed(partner.agreement.value, partner.agreement.type) if partner.agreement else None,
            address=partner.url,
            their_certificates=pinned,
            their_encryption_certificate=encryption,
            key_reference=partner.key_reference,
            compress=partner.compress,
            max_parts=partner.max_payloads,
            max_size=partner.max_size,
            may_send=sending,
            may_receive=not sending,
            integration=exchange.integration,
            untyped_names=partner.untyped_names,
            mpc=exchange.pull.mpc if exchange.pull else names.DEFAULT_MPC,
            pulled=exchange.pull is not None,
            name=exchange.pmode or "",
            recipients=tuple(typed(one) for one in (*party.serves, *behind)),
        )


def agreed_profile(partner: Partner) -> Profile:
    """The partner's profile with what the agreement adds."""
    return PROFILES[partner.profile].accepting(ALGORITHMS[name] for name in partner.also_accept)


def _tls(partner: Partner, configuration: Configuration, identity: Callable[[str], Identity]) -> ssl.SSLContext | None:
    if not partner.url.startswith("https:"):
        return None
    own = identity(partner.tls.client_key) if partner.tls.client_key else None
    anchors = configuration.files[partner.tls.anchors].decode() if partner.tls.anchors else None
    path = str(own.path) if own else None
    return client_context(anchors, path, path, versions=partner.tls.versions, suites=partner.tls.suites)
