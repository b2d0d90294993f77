"""One verb a file; each offers a click command called `command`."""
