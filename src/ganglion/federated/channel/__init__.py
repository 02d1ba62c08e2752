"""A run over HTTP(S): the server's end of `device.light`."""
