"""A hash of the code that decides a verdict, so that a verdict stored under it is never taken for what
changed code would say.

What counts is the source of a grader's class, of the modules that it works with, and of all that these import
from their own package; for a module outside of a package, from its folder. Modules that a program finds by
other means than an import statement do not count, nor do installed packages: name their versions beside the
hash.
"""

import ast
import hashlib
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path


def source_hash(grader: type, *modules: str) -> str:
    """16 hex digits of the sources of a class, of `modules` and of what they import from their own package or
    folder.
    """
    digest = hashlib.sha256(inspect.getsource(grader).encode())
    for name, source in sorted(own_sources(*modules).items()):
        digest.update(f"\n{name}\n".encode() + source)
    return digest.hexdigest()[:16]


def own_sources(*modules: str) -> dict[str, bytes]:
    """By name the source of each module, and of each that they import from their own package or folder,
    directly or not.

    Raises ModuleNotFoundError for one of `modules` that is not there or is no Python file.
    """
    found: dict[str, bytes] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if file is None:
            if name in modules:
                raise ModuleNotFoundError(f"{name}: expected a module in a Python file", name=name)
            continue
        found[name] = file.read_bytes()
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        imported = set(_imported(ast.parse(found[name]), package))
        waiting += [each for each in imported if each not in found and _is_beside(each, name)]
    return found


def _file(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):  # `a.b` where a is no package; the script that runs
        return None
    return (
        None if spec is None or spec.origin is None or not spec.origin.endswith(".py") else Path(spec.origin)
    )


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Names of the modules that the import statements may mean: of `from a import b` both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = (
                importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                if node.level
                else node.module or ""
            )
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _is_beside(imported: str, importing: str) -> bool:
    """Whether both are of one package, or the imported module or package lies in the folder of a module that
    is in none.
    """
    top, own_top = imported.partition(".")[0], importing.partition(".")[0]
    if top == own_top:
        return True
    if "." in importing:
        return False
    folder, own_folder = _folder(top), _folder(own_top)
    return folder == own_folder is not None and own_folder.name not in ("site-packages", "dist-packages")


def _folder(top: str) -> Path | None:
    file = _file(top)
    return None if file is None else file.parent.parent if file.name == "__init__.py" else file.parent
