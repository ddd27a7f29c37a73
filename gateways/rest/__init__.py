"""The gateway for systems that speak HTTP and JSON: it notifies them, and hands over to them."""
