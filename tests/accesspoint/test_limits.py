"""The access point's limits: each has a reason, and those that rest on each other do."""

from __future__ import annotations

import ast
import inspect

from accesspoint import limits, soap

NAMES = [name for name in vars(limits) if name.isupper()]


def test_every_limit_is_a_positive_number():
    """Octets and counts are whole; how long something may take is in seconds, which may be parts of one."""
    assert len(NAMES) > 30
    for name in NAMES:
        value = getattr(limits, name)
        assert type(value) is (float if name.endswith("_TIMEOUT") or name.startswith("KEEP_ALIVE") else int), name
        assert value > 0, name


def test_every_limit_says_why():
    """A comment stands above each of them and ends as a sentence, or goes on below."""
    source = inspect.getsource(limits).splitlines()
    assigned = [node for node in ast.parse(inspect.getsource(limits)).body if isinstance(node, ast.AnnAssign)]
    assert [ast.unparse(node.target) for node in assigned] == NAMES
    for node in assigned:
        comment = source[node.lineno - 2]
        assert comment.startswith("#: "), comment
        assert comment.endswith((".", "…")), comment


def test_limits_of_a_header_rest_on_each_other():
    """What must be smaller is smaller, or the larger one could never be reached."""
    assert limits.XML_ATTRIBUTES < limits.CANONICAL_ATTRIBUTES
    assert limits.XML_DEPTH < 256, "the parser itself stops there"
    assert limits.XML_DEPTH < limits.XML_ELEMENTS
    assert limits.HEADER_SIZE < limits.CANONICAL_PART
    assert limits.VALUE < limits.PROPERTY_VALUE
    assert limits.ANSWER_SIZE <= limits.HEADER_SIZE, "an answer is a header"
    assert limits.XML_ELEMENTS * len("<a/>") < limits.HEADER_SIZE
    # A whole header of the longest property values would still be read.
    assert limits.PROPERTIES * limits.PROPERTY_VALUE < limits.HEADER_SIZE


def test_a_signature_may_cover_every_part():
    """A hundred parts, the header and the body, and one to spare."""
    assert limits.PARTS + 2 <= limits.REFERENCES
    assert limits.REFERENCES * 20 < limits.XML_ELEMENTS


def test_limits_of_packaging_are_those_of_the_standard_or_wider():
    """RFC 2046 gives a boundary seventy characters; RFC 5322 a line 998."""
    assert limits.BOUNDARY == 70
    assert 998 < limits.MIME_LINE <= limits.MIME_MARGIN
    assert limits.MIME_HEADERS >= 10


def test_honest_data_is_no_bomb():
    """Lists reach ninety to one; a bomb is stopped before it is a gigabyte."""
    assert limits.GZIP_RATIO > 90
    assert limits.PIECE < limits.GZIP_RATIO_FLOOR < 1 << 30


def test_a_client_gives_up_an_idle_connection_first():
    """Else it would write into one that the server is closing."""
    assert limits.KEEP_ALIVE_CLIENT < limits.KEEP_ALIVE
    assert limits.DRAIN_TIMEOUT < limits.READ_TIMEOUT
    assert limits.CONNECT_TIMEOUT < limits.RETRY_AFTER


def test_weak_keys_are_not_believed():
    """Two thousand and forty-eight bits is the floor everyone names."""
    assert limits.RSA_BITS >= 2048


def test_the_parser_keeps_to_them():
    """The largest header that is allowed by count is taken."""
    body = b"<a/>" * (limits.XML_ELEMENTS - 1)
    assert len(soap.parse_xml(b"<a>%s</a>" % body)) == limits.XML_ELEMENTS - 1
