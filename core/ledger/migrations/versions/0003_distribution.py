"""Distribution: subscriptions, requests, expected receipts, search and statistics; pulled deliveries get an index of their own.

What is there already is left alone: a ledger made by this program has it from the first step. The indexes that change are only
for speed, so a node of the version before goes on.
"""

from alembic import op
from sqlalchemy import Column, inspect

from core.ledger import tables

revision = "0003"
down_revision = "0002"

_TABLES = (
    "subscriber",
    "value_list",
    "list_value",
    "expectation",
    "request",
    "replay",
    "access",
    "lookup",
    "statistic",
    "upload",
)
_COLUMNS = (("delivery", "fetched_at"), ("alarm", "mailed_at"))
_REPLACED = {"ix_delivery_due", "ix_delivery_receiver"}
_INDEXES = {
    *("ix_delivery_due", "ix_delivery_mail", "ix_delivery_trouble", "ix_delivery_to", "ix_delivery_by"),
    "ix_delivery_dead",
    *("ix_parcel_from", "ix_parcel_under"),
}


def upgrade() -> None:
    """Add what is not there yet."""
    bind = op.get_bind()
    found = inspect(bind)
    for table, name in _COLUMNS:
        if name not in {column["name"] for column in found.get_columns(table)}:
            op.add_column(table, Column(name, tables.metadata.tables[table].c[name].type))
    if "ix_delivery_mail" not in {index["name"] for index in found.get_indexes("delivery")}:
        for name in _REPLACED & {str(index["name"]) for index in found.get_indexes("delivery")}:
            op.drop_index(name, "delivery")
        for index in (*tables.delivery.indexes, *tables.parcel.indexes):
            if index.name in _INDEXES:
                index.create(bind)
    for name in _TABLES:
        tables.metadata.tables[name].create(bind, checkfirst=True)


def downgrade() -> None:
    """Take it away again."""
    for name in reversed(_TABLES):
        op.drop_table(name)
    for name in sorted(_INDEXES):
        op.drop_index(name, "parcel" if name.startswith("ix_parcel") else "delivery")
    op.create_index("ix_delivery_due", "delivery", ["state", "lane", "due_at"])
    op.create_index("ix_delivery_receiver", "delivery", ["receiver", "state", "lane", "due_at"])
    for table, name in _COLUMNS:
        op.drop_column(table, name)
