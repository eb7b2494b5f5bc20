"""Who imports whom: `python tests/import_graph.py` prints the cycles, the files of each folder and the
longest function.

Imports inside functions and those for types alone count like the others: a cycle through them is a cycle for
the reader.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("data_gen", "prm_train")


def modules() -> dict[str, Path]:
    """The file of every module by its dotted name; a package's is its `__init__.py`."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in files
    }


def imports(files: dict[str, Path]) -> dict[str, set[str]]:
    """Of each module, the modules of ours that it imports anywhere in its file."""
    return {name: set(_imported(path, files)) - {name} for name, path in files.items()}


def _imported(path: Path, files: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                # Of `from a import b`, b may be a module or a name in a
                whole = f"{node.module}.{alias.name}"
                yield from {whole if whole in files else node.module} & files.keys()
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & files.keys()


def folder_of(module: str, path: Path) -> str:
    """`data_gen.policies` of data_gen.policies.engine.draw: a folder answers for those inside it. Of a module
    at a root, the package.
    """
    parts = module.split(".")
    is_inside = len(parts) > 2 or (path.name == "__init__.py" and len(parts) == 2)
    return ".".join(parts[:2]) if is_inside else parts[0]


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One cycle, if there is any: graphlib names the first that it meets."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [error.args[1]]
    return []


def files_per_folder(files: dict[str, Path]) -> Counter[str]:
    found = [path for path in files.values() if path.name != "__init__.py"]
    return Counter(str(path.parent.relative_to(ROOT)) for path in found)


def longest_function(files: dict[str, Path]) -> tuple[int, str]:
    """Its lines, signature and docstring included, and its name."""
    found = []
    for module, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                found.append((node.end_lineno - node.lineno + 1, f"{module}.{node.name}"))
    return max(found)


def main() -> None:
    files = modules()
    print(f"cycles: {cycles(imports(files)) or 0}")
    for folder, n_files in files_per_folder(files).most_common():
        print(f"{n_files:4} files in {folder}")
    n_lines, name = longest_function(files)
    print(f"longest function: {name}, {n_lines} lines")


if __name__ == "__main__":
    main()
