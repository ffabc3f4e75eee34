"""The CloudEvents SQL expression language, CESQL 1.0.

Parsed by hand, compiled to closures, in plain Python.
"""

from broker.cesql.doubts import Doubt
from broker.cesql.expression import Evaluation, Expression, parse
from broker.cesql.like import Pattern
from broker.cesql.refusals import CesqlSyntaxError
from broker.cesql.shortfalls import Shortfall
from broker.cesql.values import EvaluationError

__all__ = [
    "CesqlSyntaxError",
    "Doubt",
    "Evaluation",
    "EvaluationError",
    "Expression",
    "Pattern",
    "Shortfall",
    "parse",
]
