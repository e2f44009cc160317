"""Python code: from interpreters and frames to functions, lines and tests."""
