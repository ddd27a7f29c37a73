"""The AS4 gateway: the thin adapter through which the kernel uses `accesspoint`."""
