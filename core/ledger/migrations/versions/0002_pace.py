"""Order and pace: a delivery may stand in a line, and a destination that cannot be reached is paused.

What is there already is left alone: a ledger made by this program has it from the first step.
"""

from alembic import op
from sqlalchemy import Column, inspect

from core.ledger.tables import delivery, pause

revision = "0002"
down_revision = "0001"

_COLUMNS = {"line": "", "turn": "0", "stops": "0"}
_INDEX = "ix_delivery_line"


def upgrade() -> None:
    """Add what is not there yet; rows of before stand in no line."""
    found = inspect(op.get_bind())
    there = {column["name"] for column in found.get_columns("delivery")}
    for name, default in _COLUMNS.items():
        if name not in there:
            op.add_column("delivery", Column(name, delivery.c[name].type, nullable=False, server_default=default))
    if _INDEX not in {index["name"] for index in found.get_indexes("delivery")}:
        next(index for index in delivery.indexes if index.name == _INDEX).create(op.get_bind())
    pause.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    """Take it away again."""
    pause.drop(op.get_bind())
    op.drop_index(_INDEX, "delivery")
    for name in reversed(_COLUMNS):
        op.drop_column("delivery", name)
