"""The three extensions, as SQL: a folder each, its parts in ``src`` joined in name order."""
