"""Plants one mutation: the package is imported with one place of its source changed.

Nothing on disk changes. To be called before anything of `gateway` is imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tests.mutations.catalogue import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]


class DoesNotFit(Exception):
    """The place that a mutation changes is not there, or is there more than once."""


def plant(name: str) -> Mutation:
    """Raises KeyError for an unknown name, DoesNotFit if its place is gone, RuntimeError if it is
    too late."""
    mutation = MUTATIONS[name]
    loaded = [module for module in mutation.modules() if module in sys.modules]
    if loaded:
        raise RuntimeError(f"{', '.join(loaded)}: imported already")
    for file in mutation.files():
        mutated(mutation, file)
    sys.meta_path.insert(0, _Finder(mutation))
    return mutation


def mutated(mutation: Mutation, file: str) -> str:
    """The changed source of one file."""
    source = (ROOT / file).read_text()
    for change in mutation.changes:
        if change.file != file:
            continue
        if source.count(change.old) != 1:
            found = source.count(change.old)
            raise DoesNotFit(f"{mutation.name}: {file} holds {change.old!r} {found} times")
        source = source.replace(change.old, change.new)
    return source


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation
        self._files = dict(zip(mutation.modules(), mutation.files(), strict=True))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        file = self._files.get(fullname)
        if file is None:
            return None
        loader = _Loader(fullname, str(ROOT / file), mutated(self._mutation, file))
        return importlib.machinery.ModuleSpec(fullname, loader, origin=str(ROOT / file))


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        return compile(self._source, self.path, "exec", dont_inherit=True)
