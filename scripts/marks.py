"""Marks on tests that a page is made from: which test carries which id.

Read from the source alone, so that nothing of a test runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

_EXAMPLES: Final = {"requirement": "R62', 'R63", "assertion": "CP_TA01', 'CP_TA02"}


class DocsError(Exception):
    """Something the pages are made from is wrong; the message says where."""


def _marked_ids(node: ast.AST, where: str, mark: str) -> list[str]:
    """Ids of every ``pytest.mark.<mark>(...)`` at or below ``node``."""
    ids: list[str] = []
    for call in ast.walk(node):
        if not (isinstance(call, ast.Call) and ast.unparse(call.func).endswith(f"mark.{mark}")):
            continue
        if call.keywords or not call.args:
            raise DocsError(f"{where}:{call.lineno}: a mark {mark} takes ids, as {mark}('{_EXAMPLES[mark]}')")
        for argument in call.args:
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                raise DocsError(f"{where}:{argument.lineno}: the id of a mark {mark} must be written out")
            ids.append(argument.value)
    return ids


def marks_in(source: str, where: str, mark: str = "requirement") -> Iterator[tuple[str, str]]:
    """(id, test id) of one test file, for every ``pytest.mark.<mark>``. Raises `DocsError` for a mark that no test carries."""
    tree = ast.parse(source)
    found: list[tuple[str, str]] = []

    def visit(body: Iterable[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                found.extend((name, prefix) for name in _marked_ids(node.value, where, mark))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                wanted = "Test" if isinstance(node, ast.ClassDef) else "test_"
                if not node.name.startswith(wanted):
                    continue
                for decorator in node.decorator_list:
                    found.extend((name, f"{prefix}::{node.name}") for name in _marked_ids(decorator, where, mark))
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}::{node.name}")

    visit(tree.body, where)
    written = _marked_ids(tree, where, mark)
    if len(written) != len(found):
        raise DocsError(f"{where}: {len(written) - len(found)} {mark} ids are on something that is no test")
    yield from found
