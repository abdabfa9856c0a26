"""The benchmark av-digits, whole."""
