"""Pulling: the signal that asks for a message, and which channel it means [ebMS3 §3.4, AS4 §3.5, eD1.15 §1.5.5].

Rules:

1. A pull request names a channel (MPC), is signed, refers to nothing, and is answered by one message or by 0006.
2. A sub-channel is the channel's name, a slash and more; messages keep the channel's own name.
3. An unknown channel and a channel of somebody else are answered alike, so that names cannot be found out by asking.
"""

from __future__ import annotations

from accesspoint.errors import EMPTY_CHANNEL, VALUE_NOT_RECOGNIZED, EbmsError
from accesspoint.xmltext import attribute


def pull_request_xml(mpc: str) -> bytes:
    """``eb:PullRequest`` as canonical octets inside an ``eb`` context."""
    return b'<eb:PullRequest mpc="%s"></eb:PullRequest>' % attribute(mpc)


def serves(channel: str, asked: str, *, sub_channels: bool) -> bool:
    """Whether a request for ``asked`` is one for ``channel``."""
    return asked == channel or (sub_channels and asked.startswith(channel + "/") and len(asked) > len(channel) + 1)


def empty_channel(reference: str) -> EbmsError:
    """Nothing waits: a warning, not a failure."""
    return EbmsError(EMPTY_CHANNEL, field="PullRequest/@mpc", cause="nothing waits", ref_to_message_id=reference)


def no_such_channel(reference: str) -> EbmsError:
    """There is none, or it is not theirs: nobody can tell which from this."""
    return EbmsError(
        VALUE_NOT_RECOGNIZED,
        field="PullRequest/@mpc",
        cause="is not a channel that may be pulled with this signature",
        remedy="compare the channel's name, and the certificate the request is signed with",
        ref_to_message_id=reference,
    )
