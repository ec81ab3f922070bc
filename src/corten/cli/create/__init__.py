"""`run` and `create`: options to the request that creates the container, field by field as Docker's client sends it."""
