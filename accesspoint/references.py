"""One signed reference: what a signature covers and what a receipt repeats [XMLDSIG §4.4.3]."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from accesspoint.names import DS, EC
from accesspoint.xmltext import attribute


@dataclass(frozen=True, slots=True)
class Transform:
    """A transform and, for exclusive canonicalisation, its InclusiveNamespaces prefixes (None = element absent)."""

    algorithm: str
    prefix_list: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """``uri`` is ``#id`` or ``cid:…``; ``digest`` raw octets under ``digest_algorithm``."""

    uri: str
    transforms: tuple[Transform, ...]
    digest_algorithm: str
    digest: bytes

    def key(self) -> tuple[str, str, bytes]:
        """What two references are compared by: peers change the order and attributes of transforms."""
        return self.uri, self.digest_algorithm, self.digest


def reference_xml(reference: Reference, *, declare: bool) -> bytes:
    """``ds:Reference`` as canonical octets; ``declare`` when no ancestor has rendered the ``ds`` prefix."""
    transforms = b"".join(_transform_xml(t) for t in reference.transforms)
    return b"".join(
        (
            b"<ds:Reference",
            b' xmlns:ds="%s"' % DS.encode() if declare else b"",
            b' URI="%s">' % attribute(reference.uri),
            b"<ds:Transforms>%s</ds:Transforms>" % transforms if transforms else b"",
            b'<ds:DigestMethod Algorithm="%s"></ds:DigestMethod>' % attribute(reference.digest_algorithm),
            b"<ds:DigestValue>%s</ds:DigestValue></ds:Reference>" % b64encode(reference.digest),
        )
    )


def _transform_xml(transform: Transform) -> bytes:
    inner = b""
    if transform.prefix_list is not None:
        inner = b'<ec:InclusiveNamespaces xmlns:ec="%s" PrefixList="%s"></ec:InclusiveNamespaces>' % (
            EC.encode(),
            attribute(" ".join(transform.prefix_list)),
        )
    return b'<ds:Transform Algorithm="%s">%s</ds:Transform>' % (attribute(transform.algorithm), inner)
