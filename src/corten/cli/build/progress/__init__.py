"""How `corten build` shows a running build: status messages in, text out."""
