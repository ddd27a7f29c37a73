"""What a counterpart must set on their side, in the words of their product."""
