"""How reports are written: wording, layout, escaping, forms."""
