"""Plan → C text. Pure: the same Plan gives the same bytes."""
