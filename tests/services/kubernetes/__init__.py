"""A real Kubernetes API server for the tests, and the programs of its field, built from source.

Reading order: ``golang`` → ``build`` → ``programs`` → ``place`` → ``asking`` → ``client`` →
``server`` → ``fixtures``.
"""
