"""Protocol buffers without a compiler: messages are records whose annotations hold the field numbers."""
