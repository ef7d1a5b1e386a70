"""The only code that waits: sockets, files, clocks. Each edge stands alone; assembly joins them."""
