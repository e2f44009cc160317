"""The verbs that read what is there already: evidence, files, native code."""
