"""Judge: from what happened, by whom and under which name, to a record."""
