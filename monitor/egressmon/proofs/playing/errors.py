"""Why a run does not go on as its plan says."""


class ScenarioError(Exception):
    """A step of the scenario failed; the message says which and how."""


class InterruptedScenarioError(ScenarioError):
    """A signal asked for an end."""


class RunGoneError(ScenarioError):
    """The run itself has ended: nothing is watched any more."""
