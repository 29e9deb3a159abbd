"""What the product really serves, read from its routes and its pages' own code.

The functions tell their pages apart in `match` statements; those are read as they are written, so
that a page added there is found without anybody listing it.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType

from flask import Flask

from common.web import account_pages, bank_pages, call_pages, oauth_pages, text_pages

Route = tuple[str, str]  # method and path, parameters as {name}
_WRITTEN: dict[str, tuple[ModuleType, str]] = {
    "account": (account_pages, "answer"),
    "plaid_link": (bank_pages, "answer"),
    "twilio_voice": (call_pages, "answer"),
    "twilio_sms": (text_pages, "answer"),
}
_SINGLE = ("analytics_sink", "connector_worker", "title_generator")  # one page each, POST alone


def served(app: Flask, functions: list[str]) -> set[Route]:
    """Return every page of the suite, but sockets, static files and the functions' aliases."""
    routes = set(_of_container(app, functions))
    for name in functions:
        routes |= {(method, f"/{name}{path}".rstrip("/")) for method, path in pages_of(name)}
    return routes


def pages_of(function: str) -> set[Route]:
    """Return the pages of one function, below its own mount."""
    if function in _SINGLE:
        return {("POST", "/")}
    if function == "oauth_google":
        return {*oauth_pages._PAGES, ("DELETE", "/accounts/{account_id}")}
    module, name = _WRITTEN[function]
    return set(_of_matches(inspect.getsource(module), name))


def _of_container(app: Flask, functions: list[str]) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        name = rule.endpoint.partition("/")[0].partition(".")[0]
        if name in functions or rule.endpoint == "static" or rule.websocket:
            continue
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield method, rule.rule.replace("<", "{").replace(">", "}")


def _of_matches(source: str, function: str) -> Iterator[Route]:
    tree = ast.parse(source)
    (body,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
    for node in ast.walk(body):
        if isinstance(node, ast.match_case):
            yield from _of_case(node)
        if isinstance(node, ast.If) and isinstance(node.test, ast.BoolOp):
            yield from _of_condition(node.test)


def _of_case(case: ast.match_case) -> Iterator[Route]:
    assert isinstance(case.pattern, ast.MatchSequence), "a page is told by method and path"
    methods, paths = (list(_texts(each)) for each in case.pattern.patterns)
    if not paths:  # any path that begins as the guard says
        (prefix,) = (n.value for n in ast.walk(case.guard or case) if isinstance(n, ast.Constant))
        paths = [f"{prefix}{{account_id}}"]
    yield from ((method, path) for method in methods for path in paths)


def _of_condition(test: ast.BoolOp) -> Iterator[Route]:
    """Read `path == "/webhook" and request.method == "POST"`."""
    said = [n.value for n in ast.walk(test) if isinstance(n, ast.Constant)]
    paths = [text for text in said if str(text).startswith("/")]
    methods = [text for text in said if str(text).isupper()]
    yield from ((str(method), str(path)) for method in methods for path in paths)


def _texts(pattern: ast.pattern) -> Iterator[str]:
    if isinstance(pattern, ast.MatchValue):
        assert isinstance(pattern.value, ast.Constant)
        yield str(pattern.value.value)
    elif isinstance(pattern, ast.MatchOr):
        for each in pattern.patterns:
            yield from _texts(each)
