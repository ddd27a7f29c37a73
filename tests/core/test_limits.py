"""Limits: each a positive number, with names whose order makes sense."""

from __future__ import annotations

import ast
import inspect

from core import limits

NAMES = [name for name in vars(limits) if name.isupper() and name not in ("DAY", "HOUR", "MINUTE", "SECOND")]


def test_every_limit_is_a_positive_whole_number():
    """A limit of nothing or of a fraction is a slip."""
    assert len(NAMES) > 20
    for name in NAMES:
        value = getattr(limits, name)
        assert isinstance(value, int), name
        assert value > 0, name


def test_every_limit_says_why():
    """A comment stands above each of them."""
    source = inspect.getsource(limits).splitlines()
    for node in ast.parse(inspect.getsource(limits)).body:
        if isinstance(node, ast.AnnAssign):
            assert source[node.lineno - 2].startswith("#"), ast.unparse(node.target)


def test_limits_that_rest_on_each_other_do():
    """What must be smaller is smaller: or the larger one could never be reached."""
    assert limits.INLINE_PAYLOAD < limits.STORE_CHUNK < limits.PAYLOAD_SIZE
    assert limits.DESCRIPTION_VALUE < limits.DESCRIPTION_SIZE
    assert limits.WRITER_BATCH < limits.WRITER_QUEUE
    assert limits.CLAIM_BATCH <= limits.WRITER_BATCH
    assert limits.RETRY_FIRST < limits.RETRY_CEILING
    assert limits.SKEW_ALARM < limits.SKEW_STOP < limits.LEASE
    assert limits.LEASE < limits.TRANSFER < limits.RETENTION
    assert limits.KEY_WINDOW > limits.ATTEMPTS * limits.RETRY_CEILING
    assert limits.REVOCATION_PAUSE < limits.REVOCATION_REFRESH < limits.RESPONSE_AGE
    assert limits.REVOCATION_FIRST < limits.REVOCATION_TIMEOUT
    assert limits.RESPONSE_SIZE < limits.REVOCATION_LIST_SIZE
    assert limits.SEAL_ALGORITHM < limits.SEAL_HEADER // limits.SEAL_RECIPIENTS < limits.SEAL_CHUNK
    assert limits.PAYLOAD_SIZE < limits.SEAL_SIZE
