"""The first schema.

Migrations are expand or contract, never both: version N and N-1 of the program run together on one database.
"""

from alembic import op

from core.ledger.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Drop all tables."""
    metadata.drop_all(op.get_bind())
