"""`cp`: where things go, and tar archives to and from this machine's file system."""
