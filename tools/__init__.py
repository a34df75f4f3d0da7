"""Programs for those who develop SUPREME; nothing of it is installed."""
