"""What avprep and avtrain both use: files (store), command behaviour (commands), configs, HTML pages (html)."""

__version__ = "0.1.0"
