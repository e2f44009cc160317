"""Begin to load the probes, the slowest step, before the other modules are imported."""

from egressmon.probes.loaders.loading import Preparation
from egressmon.startup.stored_types import stored

_VERBS_WITH_COMMAND = ("watch", "learn")
_DECIDING_OPTIONS = ("--engine", "--attribution")


def prepare(arguments: list[str]) -> Preparation | None:
    """Begin to load the probes that `arguments` most likely ask for, as root.

    Return None if they may ask for something else. This is a guess: once the arguments
    are parsed, the caller compares them with `Preparation.asked`.
    """
    verb = arguments[0] if arguments else ""
    if verb not in _VERBS_WITH_COMMAND or "--" not in arguments:
        return None
    options = arguments[1 : arguments.index("--")]
    if any(_may_decide(option.partition("=")[0]) for option in options):
        return None
    return Preparation("auto", frames=True, stored=stored)


# Whether `word` is an option that decides which probes are loaded. argparse accepts
# any unambiguous beginning of an option's name, so a beginning counts too.
def _may_decide(word: str) -> bool:
    is_option = word.startswith("--")
    return is_option and any(name.startswith(word) for name in _DECIDING_OPTIONS)
