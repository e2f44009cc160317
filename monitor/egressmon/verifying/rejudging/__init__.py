"""Judge again: names, places and policies as they were when a record was made."""
