"""S3Source: the objects that come to a bucket of S3."""

from __future__ import annotations

from sources.s3.source import S3Source
from sources.s3.spec import S3Spec

__all__ = ["S3Source", "S3Spec"]
