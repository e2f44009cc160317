"""Import a module when it is first used, and make sure before that it is there."""

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


class _Late(ModuleType):
    """Stands for a module until one of its attributes is asked for."""

    # Called for what is not there, so no more once the module has been loaded. (The
    # standard library's LazyLoader loads a module as soon as anybody imports it.)
    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if spec is None or spec.loader is None:
            raise AttributeError(name)
        module = module_from_spec(spec)
        sys.modules[self.__name__] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules[self.__name__] = self
            raise
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


def import_late(name: str) -> None:
    """Have the module `name` loaded only when one of its attributes is asked for.

    Call it before anybody imports the module. Raises ImportError if there is none.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = _Late(name)
    module.__spec__ = spec
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    sys.modules[name] = module
