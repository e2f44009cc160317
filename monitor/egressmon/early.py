"""Load the probes, which takes longest, while all else is still to be imported."""

from egressmon.probes.loaders.loading import Preparation

_RUNNING = ("watch", "learn")
_DECIDING = ("--engine", "--attribution")


def prepare(arguments: list[str]) -> Preparation | None:
    """Load what a run will most likely ask for, as root; None: it may be another thing.

    Whoever parses the arguments compares `Preparation.asked` with what they say.
    """
    if arguments[:1] not in ([verb] for verb in _RUNNING) or "--" not in arguments:
        return None
    options = arguments[1 : arguments.index("--")]
    if any(_may_decide(option.partition("=")[0]) for option in options):
        return None
    return Preparation("auto", frames=True)


# Also in part, as argparse takes it.
def _may_decide(word: str) -> bool:
    return word.startswith("--") and any(one.startswith(word) for one in _DECIDING)
