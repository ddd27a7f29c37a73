"""Gateways: each speaks one language to one neighbour, and is the only place where kernel and protocol words meet."""
