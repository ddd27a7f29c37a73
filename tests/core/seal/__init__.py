"""Sealed payloads."""
