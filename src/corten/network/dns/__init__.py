"""The embedded DNS server without its sockets: messages, names, answers. Pure; daemon only."""
