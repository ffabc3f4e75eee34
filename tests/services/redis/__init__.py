"""A real Redis for the tests."""
