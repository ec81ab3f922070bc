"""What can be asked about a Dockerfile instead of building it: its targets, and the parameters of one. Pure; daemon."""
