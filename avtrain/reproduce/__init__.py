"""Tables that other people's claims rest on, each by one command: rows, cells that are done once, analysis, page."""
