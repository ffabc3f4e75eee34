"""What a manifest says to a JobSink: a Job, as Kubernetes has it, of which a program is read."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from broker.manifest.shapes import Shape
from broker.programs import Container, PodTemplate, Text


class JobSpec(Shape):
    """A Job's ``spec``. What only means something in a cluster is left alone."""

    template: PodTemplate
    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] = 24 * 60 * 60
    completions: int | None = None
    parallelism: int | None = None
    suspend: bool | None = None
    backoff_limit: object = None
    backoff_limit_per_index: object = None
    completion_mode: object = None
    managed_by: object = None
    manual_selector: object = None
    max_failed_indexes: object = None
    pod_failure_policy: object = None
    pod_replacement_policy: object = None
    selector: object = None
    success_policy: object = None

    @model_validator(mode="after")
    def _is_one_run(self) -> Self:
        for name, number in (("completions", self.completions), ("parallelism", self.parallelism)):
            if number not in {None, 1}:
                raise ValueError(
                    f"'{name}' is {number}, and one program is run for an event here: leave it out"
                )
        if self.suspend:
            raise ValueError(
                "has 'suspend', and nobody would resume a job here: pause the trigger instead, by "
                "'cemesh pause'"
            )
        return self


class Job(Shape):
    model_config = ConfigDict(extra="ignore")

    spec: JobSpec


class JobSinkSpec(Shape):
    """What is run for an event, and where its files are.

    ``folder`` is absolute, or relative to the folder that cemesh was started in. More jobs than
    ``concurrency`` wait for each other.
    """

    job: Job
    folder: Annotated[Text, Field(min_length=1)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 4

    @property
    def container(self) -> Container:
        return self.job.spec.template.container
