"""What a manifest says of a program: a pod's template, of which one container is read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from broker.manifest.shapes import Shape
from broker.manifest.specs import SecretText

_VARIABLE: Final = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]*")
_REFERENCE: Final = re.compile(r"\$\$|\$\(([A-Za-z0-9_.-]+)\)")


def _can_be_given(text: str) -> str:
    try:
        fit = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        fit = False
    if not fit:
        raise ValueError("has a character that no program can be given: U+0000 or half of a pair")
    return text


def _is_a_name(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise ValueError(
            f"'{text}' is not the name of a variable: letters, digits, '_', '.' and '-', "
            "and no digit first"
        )
    return text


Text = Annotated[str, AfterValidator(_can_be_given)]


class Variable(Shape):
    """An environment variable: a ``value``, or one from a Secret of the same files."""

    name: Annotated[str, AfterValidator(_is_a_name)]
    value: Text | None = None
    value_from: SecretText | None = None

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise ValueError("'value' and 'valueFrom' exclude each other")
        if self.value_from is not None:
            _can_be_given(self.value_from.get_secret_value())
        return self


class Container(Shape):
    """A container, as Kubernetes has it.

    What only means something in a cluster is left alone, and nothing is done with it.
    """

    command: list[Text] = Field(default=[])
    args: list[Text] = Field(default=[])
    env: list[Variable] = Field(default=[])
    working_dir: Text | None = None
    image: str | None = None
    name: object = None
    env_from: object = None
    image_pull_policy: object = None
    lifecycle: object = None
    liveness_probe: object = None
    ports: object = None
    readiness_probe: object = None
    resize_policy: object = None
    resources: object = None
    restart_policy: object = None
    restart_policy_rules: object = None
    security_context: object = None
    startup_probe: object = None
    stdin: object = None
    stdin_once: object = None
    termination_message_path: object = None
    termination_message_policy: object = None
    tty: object = None
    volume_devices: object = None
    volume_mounts: object = None

    @property
    def concealed(self) -> list[str]:
        """The values from Secrets, line by line: what a program writes shall not show them."""
        return [
            line
            for each in self.env
            if each.value_from is not None
            for line in each.value_from.get_secret_value().splitlines()
        ]

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if not self.command or not self.command[0]:
            what = "any image" if self.image is None else f"the image {self.image}"
            raise ValueError(
                f"has no command: on this machine nothing can run {what}; say its 'command'"
            )
        if self.env_from is not None:
            raise ValueError("has 'envFrom', which is not read here: list the variables in 'env'")
        return self


class PodSpec(Shape):
    model_config = ConfigDict(extra="ignore")

    containers: Annotated[list[Container], Field(min_length=1)]
    init_containers: object = None

    @model_validator(mode="after")
    def _is_one_program(self) -> Self:
        if len(self.containers) > 1:
            raise ValueError(
                f"has {len(self.containers)} containers, and one program is run here: "
                "declare an object for each"
            )
        if self.init_containers:
            raise ValueError(
                "has 'initContainers', which are not run here: let the command do what they do"
            )
        return self


class PodTemplate(Shape):
    model_config = ConfigDict(extra="ignore")

    spec: PodSpec

    @property
    def container(self) -> Container:
        return self.spec.containers[0]


def environment(
    container: Container, defaults: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of the container: over ``defaults`` its own, over these ``given``.

    A value can refer to what stands before it, as ``$(NAME)``, and to what is given.
    """
    variables = {**defaults, **given}
    for each in container.env:
        if each.value_from is not None:
            value = each.value_from.get_secret_value()
        else:
            value = expanded(each.value or "", variables)
        variables[each.name] = value
    return {**variables, **given}


def command(container: Container, variables: Mapping[str, str]) -> Sequence[str]:
    """Return the program and its arguments."""
    return [expanded(each, variables) for each in (*container.command, *container.args)]


def inherited(contract: re.Pattern[str]) -> dict[str, str]:
    """Return the mesh's environment, but for what is the mesh's own and names of ``contract``."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CEMESH_") and not contract.fullmatch(name)
    }


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with the values of ``$(NAME)``, as Kubernetes does.

    Those that are unknown stay as they are; ``$$`` is a dollar sign.
    """

    def value(match: re.Match[str]) -> str:
        return "$" if match[1] is None else variables.get(match[1], match[0])

    return _REFERENCE.sub(value, text)
