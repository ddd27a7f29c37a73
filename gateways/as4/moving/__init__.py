"""Moving here from other products: their configuration read, and ours made of it."""
