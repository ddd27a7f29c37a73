"""Tests of the desks."""
