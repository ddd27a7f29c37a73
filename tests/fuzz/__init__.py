"""Garbage thrown at everything that reads what others wrote.

The rule that is tested: whatever a peer sends is accepted or rejected with a documented code; any other exception is a bug, and
so is a result that depends on how the octets were split.

Rules:

1. A target is a function from octets to nothing; it raises when the rule is broken. Each runs in a process of its own, with
   a time budget and a memory limit.
2. Inputs are grown from messages made here (fictitious names, keys made on the spot), and from real samples when they are
   at hand.
3. Where a signature would end the journey early, the changed message is signed and encrypted again, so that what lies behind the
   signature is reached as well.
4. What broke a target is kept under ``build/fuzz/`` and becomes a test in ``test_regressions.py``.
"""
