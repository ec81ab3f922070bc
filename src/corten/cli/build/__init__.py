"""What `corten build` shows and writes, beside the stream of the build itself."""
