"""The checker's verdict against the real server's, on repositories that hypothesis breaks."""
