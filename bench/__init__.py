"""Every speed figure, as a ratio taken in one run."""
