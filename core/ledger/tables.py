"""The ledger's tables. Times are UTC microseconds in 64-bit integers; digests and sealed octets are binary.

Rules:

1. Payload octets that live in the database have a table of their own, so that listing parcels never reads them.
2. ``receipt`` and ``trace`` only grow; retention empties octets and personal parts, and the chain stays verifiable.
3. A delivery row is the queue entry: what is due is one index away.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, and_

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def _id(name: str, **options: object) -> Column[str]:
    return Column(name, String(64), **options)  # type: ignore[arg-type]


parcel = Table(
    "parcel",
    metadata,
    _id("id", primary_key=True),
    Column("sender", String(255), nullable=False),
    Column("integration", String(255), nullable=False),
    Column("type", String(1024), nullable=False),
    Column("description", Text, nullable=False),
    Column("sealed_subjects", LargeBinary),
    Column("accepted_at", BigInteger, nullable=False),
    Column("key_id", String(255), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("config_version", Integer, nullable=False),
    Column("gateway", String(64), nullable=False),
    Index(None, "accepted_at"),
    Index("ix_parcel_from", "sender", "id", "integration"),
    Index("ix_parcel_under", "integration", "id"),
)

payload = Table(
    "payload",
    metadata,
    _id("parcel_id", primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("name", String(1024), nullable=False),
    Column("media_type", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("object_id", String(64), index=True),
    Column("attributes", Text, nullable=False),
)

inline_payload = Table(
    "inline_payload",
    metadata,
    _id("parcel_id", primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("octets", LargeBinary, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", String(512), primary_key=True),
    Column("value", String(512), primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    _id("parcel_id", nullable=False, index=True),
    Column("answer", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
)

further_answer = Table(
    "further_answer",
    metadata,
    Column("scope", String(512), nullable=False),
    Column("value", String(512), nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index(None, "scope", "value"),
)

delivery = Table(
    "delivery",
    metadata,
    _id("id", primary_key=True),
    _id("parcel_id", nullable=False, index=True),
    Column("receiver", String(255), nullable=False),
    Column("gateway", String(64), nullable=False),
    Column("destination", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("deaths", Integer, nullable=False),
    Column("lane", String(8), nullable=False),
    Column("lease_owner", String(64), nullable=False),
    Column("rule", String(255), nullable=False),
    Column("config_version", Integer, nullable=False),
    Column("last_code", String(64), nullable=False),
    Column("last_reason", String(1024), nullable=False),
    Column("settled_at", BigInteger),
    Column("line", String(64), nullable=False, server_default=""),
    Column("turn", BigInteger, nullable=False, server_default="0"),
    Column("stops", Integer, nullable=False, server_default="0"),
    Column("fetched_at", BigInteger),
)
_PUSHED, _LENT = delivery.c.gateway != "", and_(delivery.c.gateway == "", delivery.c.state == "ready")
_SEEN = delivery.c.state.in_(("held", "failed", "rejected", "quarantined", "accepted"))
_DEAD = and_(delivery.c.destination != "", delivery.c.gateway == "", delivery.c.state.in_(("failed", "quarantined")))
for _name, _columns, _where in (
    ("ix_delivery_due", (delivery.c.state, delivery.c.lane, delivery.c.due_at), _PUSHED),
    ("ix_delivery_mail", (delivery.c.receiver, delivery.c.destination, delivery.c.lane, delivery.c.due_at), _LENT),
    ("ix_delivery_trouble", (delivery.c.state, delivery.c.parcel_id, delivery.c.receiver), _SEEN),
    ("ix_delivery_dead", (delivery.c.receiver, delivery.c.destination, delivery.c.id), _DEAD),
    ("ix_delivery_by", (delivery.c.rule, delivery.c.parcel_id), delivery.c.rule != ""),
):
    Index(_name, *_columns, sqlite_where=_where, postgresql_where=_where)
# Ids sort by time: what a receiver or a sender had of late, or what went by a rule, is one range of parcels, and settling never
# touches it.
Index("ix_delivery_to", delivery.c.receiver, delivery.c.parcel_id)
Index(
    "ix_delivery_line",
    delivery.c.line,
    delivery.c.turn,
    sqlite_where=delivery.c.line != "",
    postgresql_where=delivery.c.line != "",
)

pause = Table(
    "pause",
    metadata,
    Column("gateway", String(64), primary_key=True),
    Column("destination", String(255), primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("probe_at", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("code", String(64), nullable=False),
    Column("reason", String(1024), nullable=False),
)

frozen = Table(
    "frozen",
    metadata,
    Column("id", Integer().with_variant(BigInteger, "postgresql"), primary_key=True, autoincrement=True),
    _id("delivery_id", nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("wire", LargeBinary, nullable=False),
    Column("objects", Text, nullable=False),
)

outside_id = Table(
    "outside_id",
    metadata,
    Column("value", String(512), primary_key=True),
    _id("delivery_id", nullable=False, index=True),
)

receipt = Table(
    "receipt",
    metadata,
    Column("id", Integer().with_variant(BigInteger, "postgresql"), primary_key=True, autoincrement=True),
    _id("delivery_id", nullable=False, index=True),
    Column("level", String(16), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("reason", String(1024), nullable=False),
    Column("outside_id", String(512), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
)

trace = Table(
    "trace",
    metadata,
    _id("chain", primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    _id("parcel_id", nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("event", String(64), nullable=False),
    Column("public", Text, nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    Column("salt", LargeBinary),
    Column("personal", LargeBinary),
    Column("hash", LargeBinary, nullable=False),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("at", BigInteger, primary_key=True),
    _id("node", primary_key=True),
    Column("heads", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

config_version = Table(
    "config_version",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("who", String(255), nullable=False),
    Column("why", String(1024), nullable=False),
    Column("content", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)

alarm = Table(
    "alarm",
    metadata,
    _id("id", primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("code", String(64), nullable=False),
    Column("text", String(1024), nullable=False),
    _id("parcel_id", nullable=False),
    Column("cleared_at", BigInteger, index=True),
    Column("mailed_at", BigInteger),
)

node = Table(
    "node",
    metadata,
    _id("id", primary_key=True),
    Column("chain", String(64), nullable=False, index=True),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("config_version", Integer, nullable=False),
)

meta = Table("meta", metadata, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False))

# --- distribution -----------------------------------------------------------------------------------------------------

subscriber = Table(
    "subscriber",
    metadata,
    Column("subscription", String(64), primary_key=True),
    Column("came_at", BigInteger, nullable=False),
)
"""When each subscription's system last came for its mail."""

value_list = Table(
    "value_list",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version", BigInteger, nullable=False),
)

list_value = Table(
    "list_value",
    metadata,
    Column("list", String(64), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
)
"""Keyed digests only: who reads the ledger cannot read who is on a list."""

expectation = Table(
    "expectation",
    metadata,
    _id("id", primary_key=True),
    _id("parcel_id", nullable=False, index=True),
    Column("level", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(255), nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("met_at", BigInteger),
    Index("ix_expectation_due", "state", "due_at"),
)

request = Table(
    "request",
    metadata,
    _id("id", primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("document", Text, nullable=False),
    Column("system", String(64), nullable=False),
    Column("integration", String(64), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("asked_by", String(255), nullable=False),
    Column("authority", String(255), nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("why", String(1024), nullable=False),
    Column("state", String(16), nullable=False),
    Column("decided_by", String(255), nullable=False),
    Column("decided_at", BigInteger),
    Column("reason", String(1024), nullable=False),
    Column("config_version", Integer, nullable=False),
    Index("ix_request_asked_by", "asked_by", "state"),
    Index("ix_request_owner", "owner", "state"),
)

replay = Table(
    "replay",
    metadata,
    _id("id", primary_key=True),
    Column("subscription", String(64), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("lane", String(8), nullable=False),
    Column("asked_by", String(255), nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    _id("cursor", nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("moved_at", BigInteger, nullable=False),
    Column("reason", String(1024), nullable=False),
    Index("ix_replay_subscription", "subscription", "state"),
    Index("ix_replay_state", "state", "moved_at"),
)
"""Events that a subscription is given again, and how far that has come."""

access = Table(
    "access",
    metadata,
    _id("id", primary_key=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("who", String(255), nullable=False),
    Column("authority", String(255), nullable=False),
    Column("action", String(64), nullable=False),
    Column("object", String(255), nullable=False),
    Column("outcome", String(64), nullable=False),
    Index("ix_access_by", "who", "id"),
    Index("ix_access_of", "object", "id"),
    Index("ix_access_in", "authority", "id"),
)

lookup = Table(
    "lookup",
    metadata,
    Column("value", String(512), primary_key=True),
    _id("parcel_id", primary_key=True, index=True),
)
"""Names by which a parcel is known outside, beside those its deliveries were frozen under."""

statistic = Table(
    "statistic",
    metadata,
    Column("hour", BigInteger, primary_key=True),
    Column("integration", String(255), primary_key=True),
    Column("sender", String(255), primary_key=True),
    Column("receiver", String(255), primary_key=True),
    Column("rule", String(255), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("parcels", BigInteger, nullable=False),
    Column("octets", BigInteger, nullable=False),
)

upload = Table(
    "upload",
    metadata,
    _id("id", primary_key=True),
    Column("system", String(255), nullable=False, index=True),
    Column("name", String(1024), nullable=False),
    Column("media_type", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("key_id", String(255), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("objects", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
