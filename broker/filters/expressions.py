"""Finds the covers of a CESQL expression.

An expression passes when it is true and nothing in its evaluation errs. So an attribute that
is read in any case has to be there, whatever is done with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from broker.cesql import tree
from broker.cesql.like import Pattern
from broker.filters.terms import Cost, Cover, Term, of_all, of_any, of_terms, present


def covers_of_node(node: tree.Node, cost: Cost) -> list[Cover]:
    """Return covers of the events for which the node is true without an error."""
    match node:
        case tree.Combine(operator="AND"):
            return of_all([covers_of_node(each, cost) for each in tree.operands(node)])
        case tree.Combine(operator="OR"):
            return _either(tree.operands(node), cost)
        case tree.Not(operand=tree.Not(operand=inner)):
            return covers_of_node(inner, cost)
        case tree.Compare(operator="="):
            return _equal(node)
        case tree.Like(operand=tree.Attribute(name)):
            return _like(name, node.pattern)
        case tree.In(operand=tree.Attribute(name)):
            return _in(name, node.elements)
        case tree.Exists(name):
            return of_terms([present(name)])
        case _:
            return _presence(_read(node))


def _either(operands: list[tree.Node], cost: Cost) -> list[Cover]:
    either = of_any([covers_of_node(each, cost) for each in operands], cost)
    # Not decisive: what stands before the operand that is true must not err.
    return [Cover(each.terms) for each in either] + _presence(_read(operands[0]))


def _equal(node: tree.Compare) -> list[Cover]:
    match node.left, node.right:
        case (tree.Attribute(name), tree.Literal(str() as text)) | (
            tree.Literal(str() as text),
            tree.Attribute(name),
        ):
            return of_terms([Term("exact", name, text)])
        case _:  # with a number or a boolean, more than one text is equal to it
            return _presence(_read(node))


def _like(name: str, pattern: Pattern) -> list[Cover]:
    if pattern.literal is not None:
        return of_terms([Term("exact", name, pattern.literal)])
    if pattern.is_prefix:
        return of_terms([Term("prefix", name, pattern.prefix)])
    if pattern.is_suffix:
        return of_terms([Term("suffix", name, pattern.suffix)])
    ends = [Term("prefix", name, pattern.prefix), Term("suffix", name, pattern.suffix)]
    return [Cover((each,)) for each in ends if each.text] or _presence([name])


def _in(name: str, elements: Iterable[tree.Node]) -> list[Cover]:
    texts: list[str] = []
    for each in elements:
        if not isinstance(each, tree.Literal):
            return _presence([name])
        texts.append(_as_text(each))
    terms = dict.fromkeys(Term("exact", name, text) for text in texts)
    return [Cover(tuple(terms), decisive=True)]


def _as_text(literal: tree.Literal) -> str:
    """Return what the literal is when it is cast to a string, which is what attributes are."""
    value = literal.value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _presence(names: Iterable[str]) -> list[Cover]:
    return [Cover((present(name),)) for name in dict.fromkeys(names)]


def _read(node: tree.Node) -> list[str]:
    """Return the attributes that are read in any case, so that their absence is an error."""
    match node:
        case tree.Attribute(name):
            return [name]
        case tree.Not() | tree.Negative() | tree.Like() | tree.In():
            return _read(node.operand)
        case tree.Compare() | tree.Compute():
            return _read(node.left) + _read(node.right)
        case tree.Combine():
            operands = tree.operands(node)
            return _read_in_all(operands if node.operator == "XOR" else operands[:1])
        case tree.Call():
            return _read_in_all(node.arguments)
        case _:  # a literal, or EXISTS, which never errs
            return []


def _read_in_all(nodes: Iterable[tree.Node]) -> list[str]:
    return list(chain.from_iterable(map(_read, nodes)))
