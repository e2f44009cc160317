"""Judge: make records, with verdicts, of connections, look-ups and escapes."""
