"""gRPC on connections that are already open, at either end of them. HTTP/2 is h2's; daemon only, loaded when used."""
