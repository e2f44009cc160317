"""In which forms the end of a sidecar's run can be printed."""

FORMS = ("plain", "github", "gitlab")
