"""Drives and judges: proofs that run the product as real processes, and checks any gateway author can use."""
