"""ebMS3/AS4 as a library usable by itself: from octets and a time to octets and a verdict."""
