"""Object storage that speaks S3: where it is, who we are there, and what it is asked."""

from __future__ import annotations

from broker.connections.s3.answers import Listed, Page
from broker.connections.s3.client import Body, Bucket, connected
from broker.connections.s3.faults import FAULTS, S3Error, said
from broker.connections.s3.spec import S3Access, no_hidden

__all__ = [
    "FAULTS",
    "Body",
    "Bucket",
    "Listed",
    "Page",
    "S3Access",
    "S3Error",
    "connected",
    "no_hidden",
    "said",
]
