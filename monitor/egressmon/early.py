"""Begin to load the probes, the slowest step, before the other modules are imported."""

from egressmon.attribution import LEVELS
from egressmon.probes.loaders.loading import Preparation
from egressmon.startup.stored_types import stored

_VERBS_WITH_COMMAND = ("watch", "learn")
_ENGINE, _ATTRIBUTION = "--engine", "--attribution"


def prepare(arguments: list[str]) -> Preparation | None:
    """Begin to load the probes that `arguments` most likely ask for, as root.

    Return None if they may ask for something else. This is a guess: once the arguments
    are parsed, the caller compares them with `Preparation.asked`.
    """
    verb = arguments[0] if arguments else ""
    if verb not in _VERBS_WITH_COMMAND or "--" not in arguments:
        return None
    found = {_ENGINE: "auto", _ATTRIBUTION: "full"}
    options = iter(arguments[1 : arguments.index("--")])
    for option in options:
        name, equals, value = option.partition("=")
        if name in found:
            found[name] = value if equals else next(options, "")
        elif _may_decide(name):
            return None
    engine, attribution = found.values()
    if engine != "auto" or attribution not in LEVELS:
        return None
    return Preparation("auto", frames=attribution == "full", stored=stored)


# Whether `word` may be short for an option that decides which probes are loaded:
# argparse accepts any unambiguous beginning of an option's name.
def _may_decide(word: str) -> bool:
    is_option = word.startswith("--")
    names = _ENGINE, _ATTRIBUTION
    return is_option and any(name.startswith(word) for name in names)
