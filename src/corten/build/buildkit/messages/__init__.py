"""Messages of BuildKit's API, as far as they are used here: field numbers as in its .proto files. Pure; daemon."""
