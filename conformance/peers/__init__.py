"""Foreign access points that Stafet really exchanges messages with: one file a peer."""
