"""The shape of a Domibus P-Mode file: nothing that is not known passes unseen."""

from __future__ import annotations

import pytest
from lxml import etree

from accesspoint.ebms import Typed
from core.errors import ConfigError
from gateways.as4.moving.shape import Finding, Reading, elements, is_true, label, local_name, typed
from tests.gateways.as4.moving.making import about, read


def test_an_attribute_that_is_not_known_is_said():
    """A newer Domibus may have more; none of it is dropped in silence."""
    pmode = read(('<party name="East_Ridge"', '<party name="East_Ridge" tide="high"'))
    assert Finding("left out", "party East_Ridge", "the attribute tide is not known here") in pmode.findings


def test_an_element_that_is_not_known_is_said():
    """Its content is not looked at: the parent names it."""
    pmode = read(("<roles>", "<lighthouses><role/></lighthouses><roles>"))
    assert Finding("left out", "businessProcesses", "the element lighthouses is not known here") in pmode.findings


def test_an_attribute_of_another_namespace_is_nobodys_business():
    """Such as where a schema is."""
    where = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b" party'
    assert not about(read((" party", f" {where}")).findings, "schemaLocation")


@pytest.mark.parametrize(
    ("element", "attribute"),
    [
        ("mpc", "retention_undownloaded"),
        ("property", "datatype"),
        ("payload", "mimeType"),
        ("errorHandling", "deliveryFailure"),
    ],
)
def test_what_is_known_and_never_carried_is_said_once(element, attribute):
    """One note a file, however many elements say it."""
    (note,) = about(read().findings, f"every {element}: ", "note")
    assert attribute in note.element
    assert note.remedy


def test_what_is_not_there_is_not_said():
    """A file without these attributes gets no note of them."""
    assert not about(read().findings, "every party")
    assert about(
        read(('<party name="East_Ridge"', '<party allowChunking="true" name="East_Ridge"')).findings, "every party"
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), (" 12 ", 12), ("0", 0), ("-1", 0), ("", 0), ("9" * 19, int("9" * 19)), ("9" * 5000, 0)],
)
def test_a_count_is_never_negative_or_endless(text, number):
    """Domibus writes -1 for no bound; digits without end are not computed."""
    reading = Reading("pmode.xml", etree.fromstring("<a/>"))
    element = etree.Element("payload", maxSize=text)
    assert reading.number(element, "maxSize") == number
    assert reading.number(element, "other") == 0
    assert reading.findings == []


def test_a_count_that_is_none_is_said():
    """The finding quotes the beginning of it."""
    reading = Reading("pmode.xml", etree.fromstring("<a/>"))
    assert reading.number(etree.Element("payload", name="p", maxSize="12 MB"), "maxSize") == 0
    assert reading.findings == [Finding("left out", "payload p", "maxSize is '12 MB', no number")]


def test_a_truth_value_is_read_as_xml_schema_has_it():
    """``1`` and ``true``; what is missing has its default."""
    element = etree.Element("a", yes="true", one="1", no="false", other="TRUE")
    assert [is_true(element, n) for n in ("yes", "one", "no", "other", "missing")] == [True, True, False, False, False]
    assert is_true(element, "missing", True) is True
    assert is_true(None, "yes", True) is True


def test_elements_and_names():
    """Comments are no elements, and a name is without its namespace."""
    root = etree.fromstring('<x:a xmlns:x="urn:x" name="n"><!-- c --><?p i?><b/></x:a>')
    assert [child.tag for child in elements(root)] == ["b"]
    assert (local_name(root), label(root), label(root[2])) == ("a", "a n", "b")
    assert (typed(" v ", " "), typed("v", " t "), typed("v", None)) == (Typed("v"), Typed("v", "t"), Typed("v"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('<role name="first"', '<role title="first"', "role: has no attribute name (compare"),
        ('role name="second"', 'role name="FIRST"', "role FIRST: stands twice (remove one"),
    ],
)
def test_a_name_is_there_and_there_once(old, new, words):
    """An element without its name, or two with one, end the reading; case makes no difference."""
    with pytest.raises(ConfigError) as caught:
        read((old, new))
    assert words in str(caught.value)
