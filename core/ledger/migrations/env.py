"""Runs migrations on the connection handed in by `core.ledger.engine.upgrade`."""

from alembic import context

from core.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
