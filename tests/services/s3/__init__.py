"""A real object storage that speaks S3, for the tests."""
