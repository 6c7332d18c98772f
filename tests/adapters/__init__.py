"""The adapters against real parts: sockets, files, a real broker."""
