"""What can go wrong in the kernel, and whose fault it is.

::

    StafetError
    ├── UsageError            the caller's: ask differently               (exit code 2)
    │   ├── ConfigError           a configuration document, named by file and field
    │   ├── DescriptionError      a payload description, named by field
    │   ├── Unfit                 a change after which documents would not fit together
    │   ├── WrongState            what is asked cannot be done to it as it is now
    │   ├── WrongOffset           an upload does not go on from there
    │   ├── BadChecksum           what came is not what was promised
    │   └── NotFound              no such parcel, delivery, system, version
    ├── Refused               the kernel's decision about a parcel        (exit code 3)
    │   ├── Conflict              one key, other content
    │   ├── TooLarge              a limit of core.limits or of the integration
    │   ├── NotAllowed            no service agreement, unknown sender
    │   ├── Invalid               the payload is not what its integration says
    │   └── Overloaded            queue or disk watermark; try later
    │       └── OverQuota             what one system or authority may send, is used up
    ├── PayloadError          stored bytes are not what was stored        (exit code 4)
    │   └── SealError             not sealed as it should be, or not for this key
    ├── EnrichmentFailed      a step of enrichment cannot say what to add (trace and alarm)
    ├── StaleLease            somebody else has the delivery by now       (never shown to users)
    ├── IllegalTransition     a bug: an event a state does not know       (exit code 70)
    └── Fatal                 the node must stop                          (exit code 5)
        ├── UnsafeDatabase        settings, file system or schema
        └── DurabilityLost        a failed fsync

Every message is one sentence a newcomer can act on: it names the field or file, the cause and, where there is one, the
remedy. No message holds payload bytes, keys or personal data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class StafetError(Exception):
    """Root of the tree. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class UsageError(StafetError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration document is wrong. ``file`` and ``field`` say where, ``cause`` why, ``remedy`` what to do."""

    def __init__(self, file: str, field: str, cause: str, remedy: str = "") -> None:
        self.file, self.field, self.cause, self.remedy = file, field, cause, remedy
        where = f"{file}: {field}: " if field else f"{file}: "
        super().__init__(where + cause + (f" ({remedy})" if remedy else ""))


class DescriptionError(UsageError):
    """A payload description is wrong in ``field``."""

    def __init__(self, field: str, cause: str) -> None:
        self.field, self.cause = field, cause
        super().__init__(f"{field}: {cause}")


class Unfit(UsageError):
    """A change is not made: documents would not fit together. ``problems`` each have kind, id, field, cause and remedy."""

    def __init__(self, problems: Sequence[Any]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{one.kind} {one.id}: {one.field}: {one.cause}" for one in problems))


class WrongState(UsageError):
    """What is asked for cannot be done any more: it was decided, has ended, or has begun already."""


class NotFound(UsageError):
    """There is no such thing."""


class WrongOffset(UsageError):
    """An upload goes on from ``received``, and from nowhere else."""

    def __init__(self, received: int) -> None:
        self.received = received
        super().__init__(f"the upload goes on from octet {received}")


class BadChecksum(UsageError):
    """Octets came that are not those whose checksum was promised."""


class Refused(StafetError):
    """The kernel will not take the parcel. ``code`` is a stable word for machines."""

    exit_code = 3
    code = "refused"


class Conflict(Refused):
    """The key was used before for other content."""

    code = "conflict"


class TooLarge(Refused):
    """A size or count is above its limit."""

    code = "too-large"


class NotAllowed(Refused):
    """No agreement allows this, or the sender is unknown."""

    code = "not-allowed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong in a payload: ``field`` is a path to the place, "/" for the whole or where no path can be told, ``cause`` the
    rule. Neither holds a value of the payload."""

    field: str
    cause: str

    def __str__(self) -> str:
        return f"{self.field}: {self.cause}"


class Invalid(Refused):
    """The payload is not what its integration says it is; ``findings`` are the first things that are wrong."""

    code = "invalid"

    def __init__(self, integration: str, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(f"payload: not what {integration} moves: {'; '.join(map(str, findings))}")


class Overloaded(Refused):
    """Try later: ``retry_after`` is in microseconds."""

    code = "overloaded"

    def __init__(self, cause: str, retry_after: int = 5_000_000) -> None:
        self.retry_after = retry_after
        super().__init__(cause)


class OverQuota(Overloaded):
    """A quota is used up. ``quota`` is its id, ``which`` of its limits."""

    code = "quota"

    def __init__(self, quota: str, which: str, cause: str, retry_after: int) -> None:
        self.quota, self.which = quota, which
        super().__init__(f"quota {quota}: {which}: {cause}", retry_after)


class PayloadError(StafetError):
    """Stored octets do not have the digest they were stored under, or cannot be opened."""

    exit_code = 4


class SealError(PayloadError):
    """Octets are not sealed as they should be, or do not open with this key. ``field`` says where, ``cause`` why."""

    def __init__(self, field: str, cause: str) -> None:
        self.field, self.cause = field, cause
        super().__init__(f"{field}: {cause}")


class EnrichmentFailed(StafetError):
    """A step cannot say what to add. The words go to trace and alarm: they name a rule, and no value of a parcel."""


class StaleLease(StafetError):
    """The epoch has moved on: what this attempt reports no longer counts."""


class IllegalTransition(StafetError):
    """An event that the state does not know: a bug, never input."""

    exit_code = 70


class Fatal(StafetError):
    """The node must not go on."""

    exit_code = 5


class UnsafeDatabase(Fatal):
    """The database is not set up so that a commit is durable, or its schema is newer than this program."""


class DurabilityLost(Fatal):
    """A write could not be made durable; what the page cache holds can no longer be trusted."""
