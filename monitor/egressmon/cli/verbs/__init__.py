"""Which verbs there are: the options of each, and the function that runs it."""
