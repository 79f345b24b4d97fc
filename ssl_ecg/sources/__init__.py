"""Data sets that are known: what their folders look like, and which labels come with them."""
