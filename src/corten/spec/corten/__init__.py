"""Wire types of what Corten's API has beyond Docker's: everything below /corten/."""
