"""How a stack is unwound: by the tables in ELF files, or by the code itself."""
