"""Tests of the gateway for HTTP and JSON."""
