"""Subscribers that misbehave in every way we know of."""
