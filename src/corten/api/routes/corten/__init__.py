"""Routes of what Corten has beyond Docker's API, all below /corten/: no name there is one of Docker's."""
