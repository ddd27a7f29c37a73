"""One signed reference: what it is compared by, and how it is written."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from accesspoint import names
from accesspoint.names import DS, EC
from accesspoint.references import Reference, Transform, reference_xml

DIGEST = hashlib.sha256(b"demo").digest()
HEADER = Reference("#m", (Transform(names.EXC_C14N, ("S12", "eb")),), names.SHA256, DIGEST)
PART = Reference('cid:a&"b@x.example', (Transform(names.ATTACHMENT_SIGNATURE),), names.SHA512, DIGEST)
BARE = Reference("#b", (), names.SHA256, b"")


def test_a_reference_is_written_with_its_transforms_and_digest():
    """Octet for octet: the digest in base64, empty elements with an end tag."""
    assert reference_xml(HEADER, declare=False) == (
        b'<ds:Reference URI="#m"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#">'
        b'<ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#" PrefixList="S12 eb">'
        b"</ec:InclusiveNamespaces></ds:Transform></ds:Transforms>"
        b'<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod>'
        b"<ds:DigestValue>KpdRbDVLaISM29j1SiJqClWyHtE44getbFy7nACqWuo=</ds:DigestValue></ds:Reference>"
    )


@pytest.mark.parametrize("reference", [HEADER, PART, BARE])
def test_what_is_written_is_its_own_canonical_form(reference):
    """Alone with its namespace declared, and inside an element that declares it."""
    alone = reference_xml(reference, declare=True)
    assert etree.tostring(etree.fromstring(alone), method="c14n", exclusive=True) == alone
    inside = b'<ds:SignedInfo xmlns:ds="%s">%s</ds:SignedInfo>' % (DS.encode(), reference_xml(reference, declare=False))
    assert etree.tostring(etree.fromstring(inside), method="c14n", exclusive=True) == inside


def test_what_is_written_reads_back():
    """Also a URI with characters that mean something to XML."""
    root = etree.fromstring(reference_xml(PART, declare=True))
    assert root.get("URI") == PART.uri
    (transform,) = root.iter(f"{{{DS}}}Transform")
    assert (transform.get("Algorithm"), len(transform)) == (names.ATTACHMENT_SIGNATURE, 0)
    (method,) = root.iter(f"{{{DS}}}DigestMethod")
    assert method.get("Algorithm") == names.SHA512


def test_no_transforms_are_no_element():
    """An empty ds:Transforms would break the schema."""
    assert b"Transforms" not in reference_xml(BARE, declare=True)


def test_an_empty_prefix_list_is_not_an_absent_one():
    """A receipt repeats what was signed: with an empty list the element stands there."""
    empty = replace(HEADER, transforms=(Transform(names.EXC_C14N, ()),))
    (inclusive,) = etree.fromstring(reference_xml(empty, declare=True)).iter(f"{{{EC}}}InclusiveNamespaces")
    assert inclusive.get("PrefixList") == ""
    absent = replace(HEADER, transforms=(Transform(names.EXC_C14N),))
    assert b"InclusiveNamespaces" not in reference_xml(absent, declare=True)


def test_references_are_compared_by_what_is_signed():
    """Other transforms are the same reference; another target, algorithm or digest is not."""
    assert replace(HEADER, transforms=()).key() == HEADER.key() == ("#m", names.SHA256, DIGEST)
    for other in ({"uri": "#n"}, {"digest_algorithm": names.SHA512}, {"digest": b""}):
        assert replace(HEADER, **other).key() != HEADER.key()


def test_a_reference_is_a_value():
    """It can be a member of a set and is never changed in place."""
    assert len({HEADER, replace(HEADER), PART}) == 2
    with pytest.raises(AttributeError):
        HEADER.uri = "#x"  # type: ignore[misc]


def test_the_official_schema_takes_it(shared: Path):
    """As an element of the XML Signature schema."""
    schema = etree.XMLSchema(etree.parse(shared / "schemas" / "xmldsig" / "xmldsig-core-schema.xsd"))
    for reference in (HEADER, PART, BARE):
        schema.assertValid(etree.fromstring(reference_xml(reference, declare=True)))
