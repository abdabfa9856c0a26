"""One adapter a file: a public dataset's own metadata and layout to manifest rows."""
