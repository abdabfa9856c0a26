"""What avprep and avtrain both use: files (store), command behaviour (commands), configs, HTML pages (html)."""
