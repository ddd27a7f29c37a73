"""Tests of the ledger; each that takes `engine` runs on SQLite and on PostgreSQL."""
