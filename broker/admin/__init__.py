"""The admin port: health, metrics and the JSON API."""

from broker.admin.app import admin

__all__ = ["admin"]
