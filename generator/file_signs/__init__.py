"""Formats told apart. One file a way of telling: `tell(opened)` gives a `FileKind` or None; a lower `ORDER` is asked first."""
