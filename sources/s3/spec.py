"""What a S3Source's ``spec`` says beside its sink."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from broker.connections.s3 import S3Access, no_hidden
from broker.manifest.durations import PositiveDuration

_SHORTEST: Final = timedelta(milliseconds=100)


def _interval(value: timedelta) -> timedelta:
    if value < _SHORTEST:
        raise ValueError("must be PT0.1S or longer")
    return value


Prefix = Annotated[str, Field(max_length=512), AfterValidator(no_hidden)]


class S3Spec(S3Access):
    """Which objects are looked for, how often, what of them is emitted, and what is done then.

    ``startAt`` and ``lookBack`` are about objects that are kept: whether those are emitted that
    were there before the source, and for how long an upload may have taken.
    """

    prefix: Prefix = ""
    interval: Annotated[PositiveDuration, AfterValidator(_interval)] = timedelta(seconds=10)
    content: Literal["reference", "data", "lines"] = "reference"
    max_bytes: Annotated[int, Field(ge=1, le=64 << 20)] = 1 << 20
    afterwards: Literal["keep", "delete", "move"] = "keep"
    move_to: Annotated[Prefix, Field(min_length=1)] | None = None
    start_at: Literal["beginning", "end"] = "beginning"
    look_back: PositiveDuration = timedelta(hours=1)

    @model_validator(mode="after")
    def _ends_well(self) -> Self:
        if (self.move_to is not None) != (self.afterwards == "move"):
            raise ValueError("'afterwards: move' and 'moveTo' are of no use without each other")
        if self.move_to is not None and self.prefix.startswith(self.move_to):
            raise ValueError(
                f"'moveTo' is '{self.move_to}', and 'prefix' '{self.prefix}' lies in it: what was "
                "moved could not be told from what is new"
            )
        if self.afterwards == "delete" and self.content == "reference":
            raise ValueError(
                "'afterwards: delete' would delete what the event refers to; "
                "'content' has to be data or lines"
            )
        kept = {"start_at": "startAt", "look_back": "lookBack"}
        if self.afterwards != "keep":
            for field in self.model_fields_set & kept.keys():
                raise ValueError(f"'{kept[field]}' is of no use but with 'afterwards: keep'")
        return self

    def wants(self, key: str) -> bool:
        """Return whether this is a thing to emit: no folder, and none that was moved."""
        return not key.endswith("/") and (self.move_to is None or not key.startswith(self.move_to))

    def moved(self, key: str) -> str | None:
        """Return the key after the object was moved; None where it is not.

        Its name from the last slash of ``prefix`` on stays.
        """
        if self.move_to is None:
            return None
        return self.move_to + key[self.prefix.rfind("/") + 1 :]
